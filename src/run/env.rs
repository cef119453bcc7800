//! The environment of an agent: from nothing, plus what is named.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::config::{EnvConfig, Role};
use crate::harness;
use crate::run::env_file::{self, FileVars};

/// Passed to every agent where they are set.
const USUAL: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
];

/// Passed where a variable begins with one of them.
const USUAL_PREFIXES: &[&str] = &["LC_", "XDG_"];

/// Where programs are looked for when the caller has no PATH at all; what cron gives.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Variables, by name.
pub type Vars = BTreeMap<OsString, OsString>;

/// The variables of the configured file, as it is now; none where none is configured.
///
/// # Errors
///
/// Why it can't be used, and what to do.
pub fn of_file(config: &EnvConfig) -> Result<FileVars, String> {
    config.file.as_deref().map_or_else(|| Ok(FileVars::new()), env_file::read)
}

/// The variables of a role's agents, without those that name the run. Those that are set in the configuration
/// stand before those of its file, and those before what is passed through.
pub fn of_role(inherited: &Vars, config: &EnvConfig, file: &FileVars, names: &[String]) -> Vars {
    let mut vars: Vars = inherited
        .iter()
        .filter(|(name, _)| is_passed(name, names))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    vars.extend(file.iter().map(|(name, value)| (name.into(), value.into())));
    vars.extend(config.set.iter().map(|(name, value)| (name.into(), value.into())));
    let path = vars.remove(OsStr::new("PATH")).unwrap_or_else(|| PATH_DEFAULT.into());
    let folders = config.path_prepend.iter().cloned().chain(std::env::split_paths(&path));
    // A folder with a colon in it can't be in PATH: then the plain one stands.
    vars.insert("PATH".into(), std::env::join_paths(folders).unwrap_or(path));
    vars
}

/// Gives a program what its preset sets, where nothing else has set it.
pub fn of_preset(vars: &mut Vars, harness: &str) {
    let set = harness::preset(harness).map_or(&[][..], |preset| preset.set);
    for (name, value) in set {
        vars.entry((*name).into()).or_insert_with(|| (*value).into());
    }
}

/// By role: the variables it names that are set neither here nor by the configuration or its file.
pub fn missing(
    inherited: &Vars,
    config: &EnvConfig,
    file: &FileVars,
    roles: &[Role],
) -> BTreeMap<String, Vec<String>> {
    let is_set = |name: &String| {
        inherited.contains_key(OsStr::new(name)) || file.contains_key(name) || config.set.contains_key(name)
    };
    let missing_of = |role: &Role| role.env.iter().filter(|name| !is_set(name)).cloned().collect::<Vec<_>>();
    let by_role = roles.iter().map(|role| (role.name.clone(), missing_of(role)));
    by_role.filter(|(_, names)| !names.is_empty()).collect()
}

fn is_passed(name: &OsStr, names: &[String]) -> bool {
    let Some(name) = name.to_str() else { return false };
    is_usual(OsStr::new(name)) || names.iter().any(|named| named == name)
}

/// Whether every agent gets it: where and how the user works, and nothing secret.
pub(crate) fn is_usual(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    USUAL.contains(&name) || USUAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    // covers: S34
    #[test]
    fn only_what_is_named_is_passed() {
        let inherited = vars(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("GITHUB_TOKEN", "secret"),
            ("RELAY_BROKER_API_KEY", "secret"),
            ("MY_KEY", "k"),
            ("LD_PRELOAD", "/evil.so"),
        ]);
        let config = EnvConfig {
            path_prepend: vec!["/opt/agents".into()],
            file: None,
            set: BTreeMap::from([("MODE".to_owned(), "night".to_owned())]),
        };
        let got = of_role(&inherited, &config, &FileVars::new(), &["MY_KEY".to_owned()]);
        let want = vars(&[("PATH", "/opt/agents:/bin"), ("LC_ALL", "C"), ("MY_KEY", "k"), ("MODE", "night")]);
        assert_eq!(got, want);
    }

    #[test]
    fn what_is_set_stands_before_the_file_and_the_file_before_what_is_passed() {
        let inherited = vars(&[("A", "passed"), ("B", "passed"), ("C", "passed"), ("PATH", "/bin")]);
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let file = text(&[("B", "file"), ("C", "file"), ("D", "file"), ("PATH", "/file")]);
        let config =
            EnvConfig { path_prepend: vec!["/first".into()], file: None, set: text(&[("C", "set")]) };
        let names = ["A", "B", "C"].map(str::to_owned);
        let want = [("A", "passed"), ("B", "file"), ("C", "set"), ("D", "file"), ("PATH", "/first:/file")];
        assert_eq!(of_role(&inherited, &config, &file, &names), vars(&want));
    }

    // Origin: an agent program replaced itself in the middle of a night, and its new version printed other lines.
    // covers: P15d
    #[test]
    fn preset_sets_only_what_nothing_else_sets() {
        let set = |mut before: Vars, harness: &str| {
            of_preset(&mut before, harness);
            before
        };
        let claude = [("DISABLE_AUTOUPDATER", "1"), ("MCP_CONNECTION_NONBLOCKING", "0")];
        assert_eq!(set(Vars::new(), "claude"), vars(&claude));
        assert_eq!(
            set(vars(&[("DISABLE_AUTOUPDATER", "0")]), "claude")[OsStr::new("DISABLE_AUTOUPDATER")],
            "0"
        );
        assert_eq!(set(Vars::new(), "command"), Vars::new());
    }
}
