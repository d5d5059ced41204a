//! Format string to [`Program`], in one pass.

use super::builder::Builder;
use super::error::{FormatError, Mistake};
use super::json;
use super::options::{Dialect, Escape, MAX_LINE_MAX, MAX_LINE_MIN, MessageType, Options};
use super::prefix::Prefix;
use super::program::{BEFORE_MAX, Op, Place, Plan, Program, Step, What, slot};
use super::specifier::{self, Context};
use super::tags::TagTable;
use super::task::Names;

/// What a value takes up at least when a line is cut: the longest number.
const VALUE_MIN: usize = 24;

impl Program {
    /// Compiles `format` for the Varnish whose tags are `tags`.
    ///
    /// # Errors
    /// [`FormatError`] says everything that is wrong, each with its place.
    pub fn compile(format: &str, options: &Options, tags: &TagTable) -> Result<Self, FormatError> {
        Self::compile_for(format, options, tags, false)
    }

    /// The same for a format that may have worked before: what only a later build refuses is told beside the
    /// program, which prints it as the build before has.
    ///
    /// # Errors
    /// As for [`Program::compile`].
    pub fn compile_again(
        format: &str,
        options: &Options,
        tags: &TagTable,
    ) -> Result<(Self, Option<FormatError>), FormatError> {
        let refused = match Self::compile(format, options, tags) {
            Ok(program) => return Ok((program, None)),
            Err(refused) => refused,
        };
        match Self::compile_for(format, options, tags, true) {
            Ok(program) => Ok((program, Some(refused))),
            Err(_) => Err(refused),
        }
    }

    fn compile_for(
        format: &str,
        options: &Options,
        tags: &TagTable,
        again: bool,
    ) -> Result<Self, FormatError> {
        if !(MAX_LINE_MIN..=MAX_LINE_MAX).contains(&options.max_line) {
            return Err(Mistake::whole(format!(
                "max_line takes {MAX_LINE_MIN} to {MAX_LINE_MAX} bytes, not {}",
                options.max_line
            ))
            .into());
        }
        let escape = options.escape_of(format);
        let zone = options.zone_of().resolve();
        let mut compiler = Compiler {
            builder: Builder::new(format, options.dialect, escape),
            context: Context { tags, zone: zone.clone(), sample: options.sample, again },
            mistakes: Vec::new(),
            unfinished: false,
        };
        // A record's priority depends on it.
        compiler.builder.used |= 1 << slot::STATUS;
        if options.message != MessageType::Blank {
            compiler.builder.used |= (1 << slot::START) | (1 << slot::END);
        }
        compiler.run(format);
        let Compiler { mut builder, mut mistakes, unfinished, .. } = compiler;
        builder.flush();
        if !unfinished {
            let json = if escape == Escape::Json { json::check(&builder.ops) } else { Ok(()) };
            mistakes.extend(json.and_then(|()| fits(&builder.ops, format, options)).err());
        }
        if !mistakes.is_empty() {
            return Err(FormatError::new(mistakes));
        }
        let mut program = Self {
            steps: steps(joined(builder.ops)),
            tags: tags.clone(),
            all: Plan::none(),
            rest: Plan::none(),
            request: builder.request,
            names: Names::default(),
            forwarded: Vec::new(),
            splits_url: false,
            host: false,
            response: builder.response,
            logs: builder.logs,
            any: builder.any,
            used: builder.used,
            slots: builder.slots,
            uses_handling: builder.uses_handling,
            reason: builder.reason,
            dialect: options.dialect,
            escape,
            message: options.message,
            prefix: Prefix::new(options, zone),
            max_line: options.max_line,
            heal: options.heal,
        };
        program.prune();
        Ok(program)
    }
}

/// One operation for text that is the same in every line.
fn joined(ops: Vec<Op>) -> Vec<Op> {
    let mut joined: Vec<Op> = Vec::with_capacity(ops.len());
    for op in ops {
        let text = match op {
            Op::Literal(text) => text,
            // As `Line::unknown` prints it.
            Op::Print(Place::Text | Place::Quoted, What::Fixed("-")) => b"-".to_vec(),
            other => {
                joined.push(other);
                continue;
            }
        };
        match joined.last_mut() {
            Some(Op::Literal(before)) => before.extend_from_slice(&text),
            _ => joined.push(Op::Literal(text)),
        }
    }
    joined
}

/// What is done one after the other for a line.
fn steps(ops: Vec<Op>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(ops.len());
    let mut next = ([0; BEFORE_MAX], 0);
    for op in ops {
        let (place, what) = match op {
            Op::Print(place, what) => (place, what),
            Op::Literal(text) => {
                // Texts that follow each other are joined.
                match next.0.get_mut(..text.len()) {
                    Some(room) => {
                        room.copy_from_slice(&text);
                        next.1 = text.len();
                        continue;
                    }
                    None => (Place::Text, What::Literal(text)),
                }
            }
        };
        let (before, length) = std::mem::take(&mut next);
        steps.push(Step { before, length, place, what });
    }
    let (before, length) = next;
    steps.push(Step { before, length, place: Place::Text, what: What::Nothing });
    steps
}

/// Refuses a format that is too long even without its values.
fn fits(ops: &[Op], format: &str, options: &Options) -> Result<(), Mistake> {
    let parts = ops.iter().map(|op| match op {
        Op::Literal(text) => text.len(),
        Op::Print(..) => VALUE_MIN,
    });
    let length = parts.sum::<usize>() + Prefix::new(options, None).longest() + 1;
    if length <= options.max_line {
        return Ok(());
    }
    Err(Mistake::whole(format!(
        "this format of {} bytes may need {length} bytes even without its values, more than \
         max_line = {}",
        format.len(),
        options.max_line
    )))
}

struct Compiler<'t> {
    builder: Builder,
    context: Context<'t>,
    /// Everything wrong so far.
    mistakes: Vec<Mistake>,
    /// The rest of the format is inside a specifier that does not end.
    unfinished: bool,
}

impl Compiler<'_> {
    /// Goes on behind a mistake, so that an author reads of all of them at once.
    fn run(&mut self, format: &str) {
        let mut at = 0;
        while let Some(character) = format.get(at..).and_then(|rest| rest.chars().next()) {
            let next = at + character.len_utf8();
            let done = match character {
                '%' => self.specifier(format, at),
                '\\' => self.backslash(format, at),
                _ => self.builder.literal(character, format, at).map(|()| next),
            };
            at = done.unwrap_or_else(|mistake| {
                let end = mistake.end().max(next);
                self.unfinished |= mistake.is_unfinished();
                self.mistakes.push(mistake);
                if character == '%' {
                    // What stands around it is checked as if it had a value.
                    self.builder.print(What::Fixed("-"));
                }
                end
            });
        }
    }

    /// Compiles the specifier at byte `at`; returns where it ends.
    fn specifier(&mut self, format: &str, at: usize) -> Result<usize, Mistake> {
        let done = specifier::compile(&mut self.builder, &self.context, format, at)?;
        if let Some(instead) = done.instead {
            self.run(&instead);
        }
        Ok(done.end)
    }

    /// Backslash sequences of the format itself.
    fn backslash(&mut self, format: &str, at: usize) -> Result<usize, Mistake> {
        let dialect = self.builder.dialect;
        let reads = dialect.reads_backslashes(self.builder.escape);
        let next = format.get(at + 1..).and_then(|rest| rest.chars().next());
        let Some(next) = next.filter(|_| reads) else {
            self.builder.literal('\\', format, at)?;
            return Ok(at + 1);
        };
        let end = at + 1 + next.len_utf8();
        match (next, dialect) {
            ('n', _) if self.builder.is_behind_all(end) => {}
            ('n', _) | ('r', Dialect::Apache) => {
                let what = "a line break would split the record in two";
                return Err(Mistake::at(format, at, end, what));
            }
            ('t', _) => self.builder.literal('\t', format, at)?,
            (_, Dialect::Varnishncsa) | ('\\' | '"', _) => {
                self.builder.literal(next, format, at)?
            }
            _ => {
                self.builder.literal('\\', format, at)?;
                self.builder.literal(next, format, at)?;
            }
        }
        Ok(end)
    }
}
