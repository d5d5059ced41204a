//! The command `s3log`: the other end of the pipe.

fn main() {}
