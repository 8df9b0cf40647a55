//! Layers of several results stacked on each other: nothing is copied.

use super::stack_of;
use crate::StepError;
use crate::worker::Product;

pub(super) fn execute(inputs: &[Product]) -> Result<Product, StepError> {
    let mut layers = Vec::new();
    for input in inputs {
        layers.extend_from_slice(stack_of(Some(input))?);
    }
    Ok(Product::Stack(layers))
}
