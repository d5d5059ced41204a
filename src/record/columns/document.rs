//! Columns of JSON: a value with its key for a name.

use super::atoms::Atom;
use super::column::{ColumnType, Position};
use super::lines::Columns;
use super::types::{local, moment};

/// A place in a JSON document.
struct Frame {
    /// What names in it begin with.
    path: String,
    /// Elements so far, in an array.
    elements: Option<usize>,
    /// The key of the value that comes next, in an object.
    key: Option<String>,
}

impl Frame {
    /// The name of the value that comes here.
    fn name(&self) -> String {
        let of = match self.elements {
            Some(elements) => elements.to_string(),
            None => self.key.clone().unwrap_or_default(),
        };
        if self.path.is_empty() { of } else { format!("{}_{of}", self.path) }
    }
}

impl Columns<'_> {
    /// A JSON document, whose grammar has been checked.
    pub(super) fn json(&mut self, atoms: &[Atom<'_>]) {
        let mut frames: Vec<Frame> = Vec::new();
        let mut at = 0;
        while let Some(atom) = atoms.get(at) {
            at += 1;
            let byte = match atom {
                Atom::Byte(byte) => *byte,
                Atom::Value(place, what) => {
                    let name = frames.last().map_or_else(String::new, Frame::name);
                    let of = self.program.alone(*place, what);
                    self.column(&name, of, Position::Bare, None);
                    continue;
                }
            };
            self.text.push(byte);
            match byte {
                b'{' | b'[' => {
                    let path = frames.last().map_or_else(String::new, Frame::name);
                    let elements = (byte == b'[').then_some(0);
                    frames.push(Frame { path, elements, key: None });
                }
                b'}' | b']' => {
                    frames.pop();
                }
                b',' => {
                    if let Some(frame) = frames.last_mut() {
                        frame.elements = frame.elements.map(|elements| elements + 1);
                        frame.key = None;
                    }
                }
                b'"' => {
                    let rest = atoms.get(at..).unwrap_or_default();
                    let inside = rest.get(..closing(rest)).unwrap_or_default();
                    // Its end, too.
                    at += inside.len() + 1;
                    self.string(frames.last_mut(), inside);
                    self.text.push(b'"');
                }
                _ => {}
            }
        }
    }

    /// What is inside a string of a JSON document: a key, a constant, or a column.
    fn string(&mut self, frame: Option<&mut Frame>, inside: &[Atom<'_>]) {
        let bytes = inside.iter().filter_map(|atom| match atom {
            Atom::Byte(byte) => Some(*byte),
            Atom::Value(..) => None,
        });
        let bytes: Vec<u8> = bytes.collect();
        let is_text = bytes.len() == inside.len();
        let mut name = String::new();
        if let Some(frame) = frame {
            if frame.elements.is_none() && frame.key.is_none() {
                // A key with values in it is named after its text alone.
                let text = String::from_utf8_lossy(&bytes);
                let key = serde_json::from_str(&format!("\"{text}\""))
                    .unwrap_or_else(|_| text.into_owned());
                name = format!("{key}_key");
                frame.key = Some(key);
            } else {
                name = frame.name();
            }
        }
        let of = match inside {
            _ if is_text => {
                self.text.extend_from_slice(&bytes);
                return;
            }
            [Atom::Value(place, what)] => self.program.alone(*place, what),
            _ => match moment(inside) {
                Some(pattern) => (ColumnType::Time(pattern), None),
                None => (ColumnType::Text, None),
            },
        };
        let moment = match inside {
            [Atom::Value(_, what)] => local(what),
            _ => None,
        };
        self.column(&name, of, Position::Quoted, moment);
    }
}

/// Where the string ends that `atoms` are the inside of.
fn closing(atoms: &[Atom<'_>]) -> usize {
    let mut escaped = false;
    let end = atoms.iter().position(|atom| match atom {
        Atom::Byte(b'"') if !escaped => true,
        Atom::Byte(b'\\') => {
            escaped = !escaped;
            false
        }
        _ => {
            escaped = false;
            false
        }
    });
    end.unwrap_or(atoms.len())
}
