//! `streamer-testkit install <server>…` and `streamer-testkit serve`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((command, servers)) if command == "install" => streamer_testkit::install::install(servers),
        Some((command, [])) if command == "serve" => {
            streamer_testkit::serve::serve(std::io::stdin().lock(), std::io::stdout())
        }
        _ => Err(
            "Usage: streamer-testkit install [mariadb] [mysql] [mongodb] [redis] [openssl] [chromium] | streamer-testkit serve"
                .to_owned(),
        ),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
