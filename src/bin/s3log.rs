//! The command `s3log`: the other end of the pipe.

fn main() -> std::process::ExitCode {
    vmod_s3log::cli::main(vmod_s3log::VARNISH_ABI)
}
