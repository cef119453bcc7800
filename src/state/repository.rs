//! The repository that a configuration lies in. Git itself is not asked: cron's PATH may lack it, and an ending command
//! must work all the same.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::state::bound::Repository;

/// The most that is read of a file of Git's, in bytes. Real ones take a few hundred.
const BYTES_MAX: u64 = 1 << 20;

/// Ports that an address need not name.
const PORTS: [(&str, &str); 4] = [("ssh", "22"), ("https", "443"), ("http", "80"), ("git", "9418")];

/// The repository of the configuration at this real path; `None` where it lies in none that has an origin.
pub(crate) fn of(config: &Path) -> Option<Repository> {
    config.ancestors().skip(1).find_map(|top| {
        let text = text_of(&git_folder(top)?.join("config"))?;
        // The innermost repository is the one: a repository around it has another history.
        Some(origin_in(&text).and_then(|origin| {
            let path = config.strip_prefix(top).ok()?.to_string_lossy().into_owned();
            Some(Repository { origin: address(&origin)?, path })
        }))
    })?
}

/// Where the configuration of the repository with this top level lies: in `.git`, or where that file of a worktree or
/// submodule points.
fn git_folder(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = text_of(&git)?;
    let folder = top.join(text.strip_prefix("gitdir:")?.trim());
    // A worktree shares the configuration of its main repository; a submodule has one of its own.
    match text_of(&folder.join("commondir")) {
        Some(common) => Some(folder.join(common.trim())),
        None => Some(folder),
    }
}

/// A small regular file. A FIFO in its place is not waited for.
fn text_of(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first `url` of `[remote "origin"]`. What `include` and `insteadOf` would change is not followed.
fn origin_in(text: &str) -> Option<String> {
    let mut in_origin = false;
    for line in text.replace("\\\n", "").lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default().trim();
            let (name, rest) = section.split_once(char::is_whitespace).unwrap_or((section, ""));
            in_origin = name.eq_ignore_ascii_case("remote") && rest.trim() == "\"origin\"";
        } else if in_origin
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("url")
        {
            return Some(value_of(value)).filter(|value| !value.is_empty());
        }
    }
    None
}

/// A value without its comment, quotes and escapes.
fn value_of(text: &str) -> String {
    let (mut value, mut is_quoted, mut chars) = (String::new(), false, text.trim().chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => value.extend(chars.next()),
            '#' | ';' if !is_quoted => break,
            c => value.push(c),
        }
    }
    value.trim().to_owned()
}

/// An address in the one form that all ways to fetch from a place have in common, without credentials: host and path.
/// HTTPS with a token in a CI job and SSH of a person name the same repository.
fn address(origin: &str) -> Option<String> {
    let (scheme, rest) = match origin.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        // `user@host:path`, as scp writes it; a path that is none of another host has its slash before any colon.
        None => match origin.split_once(':').filter(|(host, _)| !host.contains('/')) {
            Some((host, path)) => return join(host, path.trim_start_matches('/')),
            None => return Some(tidy(origin).to_owned()).filter(|path| !path.is_empty()),
        },
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if scheme == "file" {
        return Some(format!("/{}", tidy(path)));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let port = PORTS.iter().find(|(known, _)| *known == scheme).map(|(_, port)| format!(":{port}"));
    let host = port.and_then(|port| host.strip_suffix(port.as_str())).unwrap_or(host);
    join(host, path)
}

fn join(host: &str, path: &str) -> Option<String> {
    let host = host.rsplit('@').next().unwrap_or(host).to_ascii_lowercase();
    let path = tidy(path);
    (!host.is_empty() && !path.is_empty()).then(|| format!("{host}/{path}"))
}

fn tidy(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_repository_is_one_address() {
        for origin in [
            "git@github.com:owner/name.git",
            "ssh://git@github.com/owner/name.git",
            "ssh://git@GitHub.com:22/owner/name",
            "https://github.com/owner/name.git/",
            "https://x-access-token:ghs_secret@github.com/owner/name",
            "HTTPS://user@github.com:443/owner/name.git",
            "git://github.com/owner/name",
            "github.com:/owner/name",
        ] {
            assert_eq!(address(origin).as_deref(), Some("github.com/owner/name"), "{origin}");
        }
        assert_eq!(address("https://host:8443/a/b").as_deref(), Some("host:8443/a/b"));
        assert_eq!(address("/srv/git/a.git").as_deref(), Some("/srv/git/a"));
        assert_eq!(address("file:///srv/git/a.git").as_deref(), Some("/srv/git/a"));
        assert_eq!(address("https://host/a?token=secret").as_deref(), Some("host/a"));
        for none in ["", "https://", "https://host", "host:", "/"] {
            assert_eq!(address(none), None, "{none:?}");
        }
    }

    #[test]
    fn origin_is_read_as_git_reads_it() {
        let text = "[core]\n\turl = no\n[remote \"upstream\"]\n\turl = up\n[Remote  \"origin\"]\n\t; url = no\n\
                    \tfetch = +refs/heads/*:refs/remotes/origin/*\n\tURL = \"a;\\\"b\" # c\n\turl = second\n";
        assert_eq!(origin_in(text).as_deref(), Some("a;\"b"));
        assert_eq!(origin_in("[remote \"origin\"]\nurl = host:\\\na/b\n").as_deref(), Some("host:a/b"));
        for none in ["", "url = a", "[remote \"Origin\"]\nurl = a", "[remote \"origin\"]\n[core]\nurl = a"] {
            assert_eq!(origin_in(none), None, "{none:?}");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "files of a test need not survive anything")]
    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn clone_worktree_and_submodule_are_found_without_git() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        let found = |config: &str| of(&at(config)).map(|one| (one.origin, one.path));
        let named = |origin: &str, path: &str| Some((origin.to_owned(), path.to_owned()));
        assert_eq!(found("main/factory.toml"), None);
        let remote = |name: &str| format!("[remote \"origin\"]\n\turl = git@host:{name}.git\n");
        put(&at("main/.git/config"), &remote("a/main"));
        assert_eq!(found("main/factory.toml"), named("host/a/main", "factory.toml"));
        assert_eq!(found("main/ci/factory.toml"), named("host/a/main", "ci/factory.toml"));

        put(&at("tree/.git"), &format!("gitdir: {}\n", at("main/.git/worktrees/tree").display()));
        put(&at("main/.git/worktrees/tree/commondir"), "../..\n");
        assert_eq!(found("tree/ci/factory.toml"), named("host/a/main", "ci/factory.toml"));

        put(&at("main/sub/.git"), "gitdir: ../.git/modules/sub\n");
        put(&at("main/.git/modules/sub/config"), &remote("a/sub"));
        assert_eq!(found("main/sub/factory.toml"), named("host/a/sub", "factory.toml"));

        put(&at("main/inner/.git/config"), "[core]\n");
        assert_eq!(found("main/inner/factory.toml"), None, "the repository around it is another one");
        put(&at("main/odd/.git"), "gibberish");
        assert_eq!(found("main/odd/factory.toml"), named("host/a/main", "odd/factory.toml"));
    }
}
