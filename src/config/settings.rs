//! Settings from all sources, each with the place where it stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use config::{File, FileFormat, Source as _, Value, ValueKind};

use super::{ConfigError, NAMES};

const PREFIX: &str = "WEIR_";

/// Variables with the prefix that are no settings of the server: what the client commands read, and where the
/// file of settings is.
const OTHER_VARIABLES: [&str; 6] =
    ["WEIR_CONFIG", "WEIR_SERVER", "WEIR_KEY", "WEIR_ADMIN_KEY", "WEIR_CA", "WEIR_IDENTITY"];

/// What Kubernetes sets for a service called `weir`.
const SERVICE_VARIABLES: [&str; 2] = ["WEIR_SERVICE_", "WEIR_PORT"];

/// Settings, by name; a later source replaces what an earlier one said.
#[derive(Debug, Default)]
pub(super) struct Settings {
    found: BTreeMap<&'static str, Found>,
}

#[derive(Debug)]
struct Found {
    value: ValueKind,
    place: String,
}

impl Settings {
    /// Adds the settings of a TOML file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let values = File::from(path).format(FileFormat::Toml).required(true).collect()?;
        // A file that was read before can be read again, or else its lines are not told.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        values.into_iter().try_for_each(|(name, value): (String, Value)| {
            let line = line_of(&text, &name).map_or(String::new(), |line| format!(":{line}"));
            self.add(&name, value.kind, &format!("{}{line}", path.display()))
        })
    }

    /// Adds the settings of the environment.
    pub(super) fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        for (variable, value) in variables {
            let Some(variable) = variable.to_str().filter(|variable| is_setting(variable)) else { continue };
            let name = variable.trim_start_matches(PREFIX).to_ascii_lowercase();
            let value = ValueKind::String(value.to_string_lossy().into_owned());
            self.add(&name, value, &format!("the environment variable {variable}"))?;
        }
        Ok(())
    }

    /// Adds what the flags of the command line say.
    pub(super) fn add_flags(&mut self, flags: &[(&'static str, String)]) {
        for (name, value) in flags {
            let place = format!("the flag --{}", name.replace('_', "-"));
            self.found.insert(name, Found { value: ValueKind::String(value.clone()), place });
        }
    }

    /// The name, the value and the place of everything that was found.
    pub(super) fn shown(&self) -> Vec<[String; 3]> {
        let row = |(name, found): (&&str, &Found)| {
            [(*name).to_owned(), found.value.to_string(), found.place.clone()]
        };
        self.found.iter().map(row).collect()
    }

    /// Whether it was found.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number<N: Display + Copy + PartialOrd + TryFrom<u64>>(
        &self,
        name: &'static str,
        default: N,
        least: N,
        most: N,
    ) -> Result<N, ConfigError> {
        let Some(found) = self.found.get(name) else { return Ok(default) };
        let number = match &found.value {
            ValueKind::I64(number) => u64::try_from(*number).ok(),
            ValueKind::U64(number) => Some(*number),
            ValueKind::String(text) => text.replace('_', "").parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| N::try_from(number).ok());
        let fitting = number.filter(|number| (least..=most).contains(number));
        fitting.ok_or_else(|| found.misfit(name, format!("a whole number from {least} to {most}")))
    }

    /// Text that is not empty.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        match self.found.get(name) {
            None => Ok(None),
            Some(Found { value: ValueKind::String(text), .. }) if !text.is_empty() => Ok(Some(text.clone())),
            Some(found) => Err(found.misfit(name, "text".to_owned())),
        }
    }

    /// Two texts that go together: both are set, or neither is.
    pub(super) fn pair(
        &self,
        name: &'static str,
        other: &'static str,
    ) -> Result<Option<(String, String)>, ConfigError> {
        match (self.text(name)?, self.text(other)?) {
            (Some(one), Some(two)) => Ok(Some((one, two))),
            (Some(_), None) => Err(ConfigError::Incomplete { name, missing: other }),
            (None, Some(_)) => Err(ConfigError::Incomplete { name: other, missing: name }),
            (None, None) => Ok(None),
        }
    }

    /// Text that can be read as a `T`; `expected` says how it looks.
    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.found.get(name) else { return Ok(None) };
        let text = if let ValueKind::String(text) = &found.value { text.as_str() } else { "" };
        text.parse().map(Some).map_err(|_| found.misfit(name, expected.to_owned()))
    }

    fn add(&mut self, name: &str, value: ValueKind, place: &str) -> Result<(), ConfigError> {
        let place = place.to_owned();
        let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
            return Err(ConfigError::Unknown { name: name.to_owned(), place });
        };
        self.found.insert(name, Found { value, place });
        Ok(())
    }
}

impl Found {
    fn misfit(&self, name: &'static str, expected: String) -> ConfigError {
        let found = format!("`{}`", self.value);
        ConfigError::Value { name, place: self.place.clone(), expected, found }
    }
}

/// The line that sets `name`, or begins the table of that name.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let key = line.split(['=', ']']).next().unwrap_or_default();
        key.trim_matches(['[', ' ', '\t', '"', '\'']).eq_ignore_ascii_case(name) && key.len() < line.len()
    };
    text.lines().position(sets).map(|before| before + 1)
}

fn is_setting(variable: &str) -> bool {
    let is_service = SERVICE_VARIABLES.iter().any(|prefix| variable.starts_with(prefix));
    variable.starts_with(PREFIX) && !is_service && !OTHER_VARIABLES.contains(&variable)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, LogFormat};
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut settings = Settings::default();
        settings.add_environment(variables.iter().map(|(name, value)| (name.into(), value.into())))?;
        Config::from_settings(&settings)
    }

    fn check_message(result: Result<Config, ConfigError>, parts: &[&str]) {
        let message = result.expect_err("it does not fit").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }

    #[test]
    fn a_wrong_setting_of_a_file_is_told_with_its_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        for (text, line) in [
            ("# first\nlog = \"info\"\n workers = 0\n", 3),
            ("log = \"info\"\n\"worker\" = 2\n", 2),
            ("log = \"info\"\n\n[tls]\nkey = 1\n", 3),
        ] {
            std::fs::write(file.path(), text).expect("written");
            let place = format!("{}:{line}: ", file.path().display());
            check_message(Config::load(Some(file.path()), &[]), &[&place]);
        }
    }

    #[test]
    fn without_any_source_everything_has_its_default() {
        assert_eq!(environment(&[("PATH", "/bin")]).expect("valid"), Config::new("weir-data"));
    }

    #[test]
    fn flags_come_before_the_environment_and_that_before_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "workers = 3\npartitions = 4\nlog_format = \"json\"\nretention_ms = 60_000\n";
        std::fs::write(file.path(), text).expect("written");
        let mut settings = Settings::default();
        settings.add_file(file.path()).expect("readable");
        let variables = [("WEIR_WORKERS", "5"), ("WEIR_PARTITIONS", "6"), ("WEIR_KEY", "weir_x_y")];
        settings
            .add_environment(variables.map(|(name, value)| (name.into(), value.into())).into_iter())
            .expect("known");
        settings.add_flags(&[("workers", "7".to_owned())]);
        let config = Config::from_settings(&settings).expect("valid");
        assert_eq!((config.workers, config.partitions, config.retention_ms), (7, 6, 60_000));
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn an_unknown_setting_is_named_with_its_place() {
        check_message(
            environment(&[("WEIR_WORKER", "1")]),
            &["environment variable WEIR_WORKER", "`worker`", "workers"],
        );
        assert!(environment(&[("WEIR_PORT_8080_TCP", "tcp://10.0.0.1"), ("WEIR_SERVICE_HOST", "x")]).is_ok());
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_place_and_its_bounds() {
        for (name, value, expected) in [
            ("WEIR_WORKERS", "0", "1 to 256"),
            ("WEIR_WORKERS", "1.5", "1 to 256"),
            ("WEIR_PARTITIONS", "65", "1 to 64"),
            ("WEIR_PARTITIONS", "-1", "1 to 64"),
            ("WEIR_BATCH_DEBITS_MAX", "10001", "1 to 10000"),
            ("WEIR_IN_FLIGHT_MAX", "9999", "10000 to"),
            ("WEIR_LISTEN", "localhost", "address and port"),
            ("WEIR_LOG_FORMAT", "xml", "text or json"),
            ("WEIR_DATA_DIR", "", "text"),
        ] {
            check_message(environment(&[(name, value)]), &[name, expected, value]);
        }
    }

    #[test]
    fn tls_has_its_certificate_and_its_key_or_neither() {
        for (set, missing) in [
            ("WEIR_TLS_CERTIFICATE", "`tls_key`"),
            ("WEIR_TLS_KEY", "`tls_certificate`"),
            ("WEIR_TLS_CLIENT_CA", "`tls_certificate`"),
        ] {
            let name = set.trim_start_matches(PREFIX).to_lowercase();
            check_message(environment(&[(set, "a.pem")]), &[&name, missing]);
        }
        let both = environment(&[("WEIR_TLS_CERTIFICATE", "a.pem"), ("WEIR_TLS_KEY", "b.pem")]);
        assert!(both.expect("valid").tls.is_some_and(|files| files.client_ca.is_none()));
    }

    #[test]
    fn a_file_that_is_no_toml_or_holds_a_table_is_refused_by_its_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("text").to_owned();
        for (text, part) in [
            ("workers = = 1", "cannot be read"),
            ("[http]\nworkers = 1", "`http`"),
            ("workers = true", "`true`"),
        ] {
            std::fs::write(file.path(), text).expect("written");
            check_message(Config::load(Some(file.path()), &[]), &[part]);
        }
        check_message(
            Config::load(Some(Path::new("/nonexistent/weir.toml")), &[]),
            &["/nonexistent/weir.toml"],
        );
        assert!(path.starts_with('/'));
    }
}
