//! Where this system's own packages come from. `sources.list(5)`

use std::path::PathBuf;

/// Where packages come from when the system names no mirror.
const DEBIAN: &str = "http://deb.debian.org/debian";

/// The mirror of Debian's archive that this system uses.
pub(super) fn mirror() -> String {
    let mut sources = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = std::fs::read_dir("/etc/apt/sources.list.d") {
        sources.extend(folder.flatten().map(|entry| entry.path()));
    }
    let texts = sources
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok());
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_debian = release.lines().any(|line| line == "ID=debian");
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .filter(|_| is_debian);
    codename
        .and_then(|codename| texts.filter_map(|text| in_text(&text, codename)).next())
        .unwrap_or_else(|| DEBIAN.to_owned())
}

/// The first HTTP address of the release itself in one file of either format. Other archives, such as those of security
/// updates or of other makers, have other suites.
fn in_text(text: &str, codename: &str) -> Option<String> {
    let one_line = text
        .lines()
        .filter_map(|line| line.strip_prefix("deb "))
        .find_map(|line| {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| !word.starts_with("http"));
            let address = words.next()?;
            (words.next()? == codename).then(|| address.to_owned())
        });
    one_line.or_else(|| {
        text.split("\n\n").find_map(|stanza| {
            let field = |name: &str| {
                stanza
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .unwrap_or_default()
                    .split_whitespace()
            };
            let is_used =
                field("Suites").any(|suite| suite == codename) && !field("Enabled").any(|word| word == "no");
            is_used
                .then(|| field("URIs").find(|address| address.starts_with("http")))?
                .map(str::to_owned)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::in_text;

    #[test]
    fn the_mirror_is_that_of_the_release_and_of_nobody_else() {
        let others = "deb [signed-by=/k] https://other.example/apt cloud-bookworm main\n\
                      deb http://security.example/debian-security bookworm-security main\n";
        assert_eq!(in_text(others, "bookworm"), None);
        let line = format!(
            "{others}# deb http://no.example bookworm main\ndeb [a=b] http://m.example/d bookworm main\n"
        );
        assert_eq!(in_text(&line, "bookworm").as_deref(), Some("http://m.example/d"));
    }

    #[test]
    fn the_newer_format_is_read_stanza_by_stanza() {
        let text = "Types: deb\nURIs: http://off.example/d\nSuites: bookworm\nEnabled: no\n\n\
                    Types: deb\nURIs: http://sec.example/d\nSuites: bookworm-security\n\n\
                    Types: deb\nURIs: http://m.example/d\nSuites: bookworm bookworm-updates\n";
        assert_eq!(in_text(text, "bookworm").as_deref(), Some("http://m.example/d"));
    }
}
