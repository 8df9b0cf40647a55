//! Variables by name, in the order in which they were first set.

use std::collections::HashMap;

/// Variables and their values.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Environment {
    /// Sets a variable; one that is there keeps its place.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.places.get(name) {
            Some(place) => value.clone_into(&mut self.variables[*place].1),
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let place = self.places.get(name)?;
        Some(&self.variables[*place].1)
    }

    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    pub(super) fn into_variables(self) -> Vec<(String, String)> {
        self.variables
    }
}
