//! The environment of an agent: from nothing, plus what is named.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::config::{EnvConfig, Role};

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

/// The variables of a role's agents, without those that name the run.
pub fn of_role(inherited: &Vars, config: &EnvConfig, names: &[String]) -> Vars {
    let mut vars: Vars = inherited
        .iter()
        .filter(|(name, _)| is_passed(name, names))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    vars.extend(config.set.iter().map(|(name, value)| (name.into(), value.into())));
    let path = vars.remove(OsStr::new("PATH")).unwrap_or_else(|| PATH_DEFAULT.into());
    let folders = config.path_prepend.iter().cloned().chain(std::env::split_paths(&path));
    // A folder with a colon in it can't be in PATH: then the plain one stands.
    vars.insert("PATH".into(), std::env::join_paths(folders).unwrap_or(path));
    vars
}

/// By role: the variables it names that are set neither here nor by the configuration.
pub fn missing(inherited: &Vars, config: &EnvConfig, roles: &[Role]) -> BTreeMap<String, Vec<String>> {
    let is_set = |name: &String| inherited.contains_key(OsStr::new(name)) || config.set.contains_key(name);
    let missing_of = |role: &Role| role.env.iter().filter(|name| !is_set(name)).cloned().collect::<Vec<_>>();
    let by_role = roles.iter().map(|role| (role.name.clone(), missing_of(role)));
    by_role.filter(|(_, names)| !names.is_empty()).collect()
}

fn is_passed(name: &OsStr, names: &[String]) -> bool {
    let Some(name) = name.to_str() else { return false };
    is_usual(OsStr::new(name)) || names.iter().any(|named| named == name)
}

/// Whether every agent gets it: where and how the user works, and nothing secret.
pub(super) fn is_usual(name: &OsStr) -> bool {
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
            set: BTreeMap::from([("MODE".to_owned(), "night".to_owned())]),
        };
        let got = of_role(&inherited, &config, &["MY_KEY".to_owned()]);
        let want = vars(&[("PATH", "/opt/agents:/bin"), ("LC_ALL", "C"), ("MY_KEY", "k"), ("MODE", "night")]);
        assert_eq!(got, want);
    }
}
