//! What a person at a terminal gives and sees, and what a script reads.
//!
//! | file | what |
//! |---|---|
//! | `complaints` | what could not be done although the command goes on |
//! | `output` | sizes, counts, colours, JSON |
//! | `progress` | a bar on standard error, where that is a terminal |
//! | `when` | times as they are given and shown |

mod complaints;
pub(in crate::cli) mod output;
mod progress;
pub(in crate::cli) mod when;

pub(in crate::cli) use self::complaints::Complaints;
pub(in crate::cli) use self::progress::Progress;
