//! One attempt to store a block, and the proof that it is stored.
//!
//! A 2xx alone is not believed: a captive portal says 200 to everything, and a block that is
//! believed to be stored is deleted. What counts is that the whole body was sent, that it had the
//! block's hash, and that the answer is 200 without a body and with the body's MD5 as its entity
//! tag. Whatever is less than that is settled by HEAD, see [`confirm`](super::confirm).

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use super::classify::{asks_to_wait, classify, may_be_there};
use super::client::{Call, Client, ERROR_BODY, Heading, Signed};
use super::confirm::Confirmed;
use super::etag::Etag;
use super::http::{Patience, Response};
use super::object::{
    self, ContentMd5, Fault, HeaderError, ObjectOptions, Outgoing, PutObject, Sent, Told,
};
use super::outcome::{Action, Answer, Outcome};
use super::retry::PutOnce;
use super::wire::{encode, xml};

/// How long the gateway has said nothing, from the first piece of the body to the answer.
#[derive(Debug, Default)]
struct Silence {
    /// When the last piece was handed to the connection.
    since: Cell<Option<Instant>>,
    longest: Cell<Duration>,
}

impl Silence {
    /// Another piece goes to the connection, which has taken the one before.
    fn is_broken(&self) {
        self.is_over();
        self.since.set(Some(Instant::now()));
    }

    /// There is an answer, or none is waited for any longer.
    fn is_over(&self) {
        let lasted = self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        self.longest.set(self.longest.get().max(lasted));
    }
}

impl Client {
    /// One attempt to store `object`. Blocks for at most the options' deadline, and again for the
    /// requests that settle what is in doubt.
    #[must_use]
    pub fn put(&self, object: &PutObject<'_>) -> Answer {
        let options = self.learnt().adapt(&self.options().object);
        let silence = Silence::default();
        let sending = |bytes| {
            silence.is_broken();
            (object.sending)(bytes);
        };
        let told = PutObject { sending: &sending, ..*object };
        match self.attempt(&told, &options, &silence) {
            Ok(answer) | Err(answer) => Answer { silence: silence.longest.get(), ..answer },
        }
    }

    fn attempt(
        &self,
        object: &PutObject<'_>,
        options: &ObjectOptions,
        silence: &Silence,
    ) -> Result<Answer, Answer> {
        let sums = object::sums(object, options).map_err(|error| unreadable(&error))?;
        let now = self.now();
        let times = (now, now.min(self.clock.unix()));
        let headers =
            object::headers(object, options, &sums, times).map_err(|error| match error {
                HeaderError::TooMuchAdded(_) | HeaderError::Expired => {
                    Answer::local(Outcome::Unsendable, error.to_string())
                }
                _ => Answer::local(Outcome::Damaged, error.to_string()),
            })?;
        let body = (object.open)().map_err(|error| unreadable(&error))?;
        let mut body = Outgoing::new(Told::new(body, object.sending), object.len);
        let hash = encode::hex(&object.sha256);
        let ask_first = self.learnt().asks_first(object.key);
        let answered = self.send(Call {
            method: "PUT",
            key: Some(object.key),
            query: None,
            headers,
            payload_sha256: &hash,
            body: Some(&mut body),
            deadline: self.options().deadline(object.len),
            patience: Patience::Short(self.options().silence(object.len, object.patience)),
            ask_first,
            cost: self.gateway().put_cost(object.len),
        });
        silence.is_over();
        let (response, signed) = match answered {
            Ok(answered) => answered,
            Err(answer) => return Err(self.without_answer(object.key, answer, &mut body)),
        };
        let sent = body.sent();
        if sent.is_some_and(|sent| sent.sha256 != object.sha256) {
            let text = "its bytes do not have the hash that it was sealed with";
            return Err(Answer::local(Outcome::Damaged, text));
        }
        let status = response.status;
        if (200..=299).contains(&status) {
            let answer = self.claims_success(object, sent, response, &signed);
            if answer.outcome == Outcome::Stored {
                self.learnt().stored(object.key, options.if_none_match);
            }
            return Ok(answer);
        }
        let answer = self.answer(response, &signed);
        Err(match status {
            417 if ask_first => {
                self.learnt().never_ask();
                Answer { outcome: Outcome::Adapted, ..answer }
            }
            412 => self.settle(object, sent, answer),
            _ => {
                let answer = self.adapt_to(answer, options);
                if may_be_there(answer.outcome, status, &answer.code) {
                    self.settle_refusal(object, sent, answer)
                } else {
                    answer
                }
            }
        })
    }

    fn without_answer<R: io::Read>(
        &self,
        key: &str,
        answer: Answer,
        body: &mut Outgoing<R>,
    ) -> Answer {
        match body.fault() {
            Some(Fault::Short(left)) => Answer::local(
                Outcome::Damaged,
                format!("its file is {left} bytes shorter than the block"),
            ),
            Some(Fault::Io(text)) => Answer::local(Outcome::Unreadable, text),
            None => {
                // Who answers early may close the connection, or leave it open and read no more.
                if matches!(answer.outcome, Outcome::Broken | Outcome::TimedOut) {
                    // Not for ever: a proxy's answer to the question may be what breaks it.
                    self.learnt().body_was_cut(key, body.is_cut());
                }
                answer
            }
        }
    }

    /// Whether a 2xx is what it says.
    fn claims_success(
        &self,
        object: &PutObject<'_>,
        sent: Option<Sent>,
        response: Response,
        signed: &Signed,
    ) -> Answer {
        let head = Heading::of(&response);
        let etag = Etag::of(&response);
        let encryption =
            response.header("x-amz-server-side-encryption").unwrap_or_default().to_owned();
        let (bytes, whole) = response.read(ERROR_BODY);
        let body = xml::error(&bytes);
        let empty = bytes.iter().all(u8::is_ascii_whitespace);
        if !body.code.is_empty() {
            // S3 does that where the status is sent before the work is done.
            let outcome = classify(500, &body.code, &body.message).unwrap_or(Outcome::Unconfirmed);
            return self.describe(head, outcome, body, &bytes, signed);
        }
        let date = head.date;
        let clean = head.status == 200 && empty && whole;
        let proven = match sent {
            Some(sent) if clean => {
                // Not the body's by design, and no other server has these headers.
                let by_key = etag.is_encrypted() && etag.is_there() && !head.request_id.is_empty();
                by_key || self.learnt().etags_are_md5() && etag.is(&sent.md5)
            }
            _ => false,
        };
        // What a proxy or a login page does not send, where HEAD may not tell.
        let plausible = clean && sent.is_some() && etag.is_quoted() && !head.request_id.is_empty();
        let answer = self.describe(head, Outcome::Stored, body, &bytes, signed);
        let answer = if proven {
            answer
        } else {
            // A second answer on this connection would be taken for the next request's.
            self.reconnect();
            let outcome = match self.confirm(object, sent) {
                Confirmed::Ours => Outcome::Stored,
                Confirmed::Unknown(head) if head.outcome == Outcome::Refused && plausible => {
                    Outcome::Stored
                }
                _ if !clean => Outcome::NotS3,
                Confirmed::Unknown(head) if matches!(head.action(), Action::Retry { .. }) => {
                    return head;
                }
                Confirmed::Unknown(_) => Outcome::Unsettled,
                Confirmed::Missing | Confirmed::Other => Outcome::Unconfirmed,
            };
            let title = if outcome == Outcome::NotS3 { xml::title(&bytes) } else { String::new() };
            Answer { outcome, message: title, ..answer }
        };
        if answer.outcome == Outcome::Stored {
            let wanted = self.options().object.server_side_encryption.as_deref();
            self.learnt().encrypted(wanted, &encryption);
            if let Some(date) = date {
                self.learnt().taken(date, self.clock.unix());
            }
        }
        answer
    }

    /// 412: whose object is it that is there already?
    fn settle(&self, object: &PutObject<'_>, sent: Option<Sent>, answer: Answer) -> Answer {
        let outcome = match self.confirm(object, sent) {
            Confirmed::Ours => Outcome::AlreadyStored,
            Confirmed::Other => Outcome::Conflict,
            // Gone again, or not visible yet: the next PUT will tell.
            Confirmed::Missing => {
                let message = "HEAD finds no object under the key; if it lasts, the gateway does not \
                               honour If-None-Match: set if_none_match = false";
                return Answer { outcome: Outcome::Busy, message: message.to_owned(), ..answer };
            }
            Confirmed::Unknown(head) if matches!(head.action(), Action::Retry { .. }) => {
                return head;
            }
            // A HEAD has no body that would tell an expired token from a bad request: none of its
            // refusals is a reason to set the block aside.
            Confirmed::Unknown(_) => Outcome::Unsettled,
        };
        Answer { outcome, ..answer }
    }

    /// A refusal that may be for the block itself, which is there already and may not be overwritten.
    fn settle_refusal(&self, object: &PutObject<'_>, sent: Option<Sent>, answer: Answer) -> Answer {
        match self.confirm(object, sent) {
            Confirmed::Ours => Answer { outcome: Outcome::AlreadyStored, ..answer },
            Confirmed::Other if answer.status == Some(409) && !asks_to_wait(&answer.code) => {
                Answer { outcome: Outcome::Conflict, ..answer }
            }
            // What was refused may be something else, which an operator can correct.
            Confirmed::Other => answer.and("another object has this key"),
            Confirmed::Unknown(head)
                if answer.status == Some(409) && head.outcome == Outcome::Refused =>
            {
                answer.and(
                    "HEAD is refused and does not tell whether the block is there; allow s3:GetObject \
                     on the path",
                )
            }
            Confirmed::Missing | Confirmed::Unknown(_) => answer,
        }
    }

    /// Goes on without a header that the gateway does not know, or with one that it wants.
    fn adapt_to(&self, answer: Answer, options: &ObjectOptions) -> Answer {
        if answer.outcome != Outcome::Unsupported {
            return answer;
        }
        let text = answer.message.to_ascii_lowercase();
        let unknown = text.contains("header if-none-match") && options.if_none_match;
        // Some do not say which header they mean.
        let guess = !unknown
            && answer.status == Some(501)
            && !text.contains(", header ")
            && !text.starts_with("header ")
            && self.learnt().guess_unconditional(options.if_none_match);
        if unknown {
            self.learnt().go_unconditional();
        }
        if unknown || guess {
            let message = format!(
                "{}; it goes on without If-None-Match, say if_none_match = false to say so",
                answer.message
            );
            return Answer { outcome: Outcome::Adapted, message, ..answer };
        }
        if text.contains("content-md5")
            && options.content_md5 == ContentMd5::Auto
            && !options.wants_md5()
        {
            self.learnt().send_md5();
            return Answer { outcome: Outcome::Adapted, ..answer };
        }
        answer
    }
}

/// A block's file that cannot be read, or is too short.
fn unreadable(error: &io::Error) -> Answer {
    let outcome = match error.kind() {
        io::ErrorKind::UnexpectedEof => Outcome::Damaged,
        _ => Outcome::Unreadable,
    };
    Answer::local(outcome, error.to_string())
}

impl PutOnce for Client {
    fn put(&self, object: &PutObject<'_>) -> Answer {
        Self::put(self, object)
    }

    fn reread_credentials(&self) {
        self.credentials().refused();
    }
}
