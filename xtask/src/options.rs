//! Options of a command that are a name and a whole number, handed on as environment variables.

use crate::step::Failure;

/// The variables that the options ask for.
///
/// # Errors
/// Names the option that the command does not have, or that lacks its number.
pub(crate) fn numbers<'a>(
    command: &str,
    words: &'a [String],
    known: &[(&str, &'static str)],
) -> Result<Vec<(&'static str, &'a str)>, Failure> {
    let mut environment = Vec::new();
    let mut words = words.iter();
    while let Some(option) = words.next() {
        let Some((_, variable)) = known.iter().find(|(name, _)| name == option) else {
            return Err(Failure::usage(format!("`{option}` is not an option of `{command}`")));
        };
        let number = words.next().filter(|number| number.parse::<u64>().is_ok());
        let number = number.ok_or_else(|| Failure::usage(format!("`{option}` takes a whole number")))?;
        environment.push((*variable, number.as_str()));
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_becomes_its_variable_and_an_unknown_one_is_refused() {
        let known = [("--minutes", "MINUTES"), ("--seed", "SEED")];
        let numbers = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let found = numbers("storm", &words, &known);
            found.map(|found| {
                found.iter().map(|(name, number)| format!("{name}={number}")).collect::<Vec<_>>()
            })
        };
        assert_eq!(numbers(&["--seed", "7", "--minutes", "2"]).expect("known"), ["SEED=7", "MINUTES=2"]);
        for wrong in [&["--sed", "1"][..], &["--seed"], &["--seed", "many"]] {
            assert!(numbers(wrong).is_err(), "{wrong:?}");
        }
    }
}
