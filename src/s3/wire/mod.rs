//! Texts as S3 sends and takes them: XML documents, dates, and the encodings of keys and headers.
//!
//! Pure functions of bytes; no I/O, no settings.

pub mod date;
pub mod encode;
pub mod xml;
