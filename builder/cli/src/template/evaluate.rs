//! Templates carried out on values.

use super::functions::{self, is_true, text_of};
use super::{Functions, Node, Operand, Pipeline, Result, TemplateError};
use serde_json::Value;

/// Returns what `nodes` make of `root`.
pub(super) fn run(nodes: &[Node], root: &Value, functions: Functions) -> Result<String> {
    let mut run = Run {
        root,
        variables: Vec::new(),
        functions,
        output: String::new(),
    };
    let dot = Dot {
        value: root.clone(),
        is_root: true,
    };
    run.nodes(nodes, &dot)?;
    Ok(run.output)
}

struct Run<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
    functions: Functions,
    output: String,
}

/// What `.` is.
struct Dot {
    value: Value,
    /// Whether it is what the template was given: all fields of that are known.
    is_root: bool,
}

impl Dot {
    fn of(value: Value) -> Self {
        Dot {
            value,
            is_root: false,
        }
    }
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Dot) -> Result<()> {
        let known = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(known);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Dot) -> Result<()> {
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Output(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variable.is_none() {
                    self.output.push_str(&text_of(&value));
                }
            }
            Node::If(branches) => self.branches(branches, dot)?,
            Node::With {
                value,
                body,
                otherwise,
            } => {
                let known = self.variables.len();
                let value = self.pipeline(value, dot)?;
                match is_true(&value) {
                    true => self.nodes(body, &Dot::of(value))?,
                    false => self.nodes(otherwise, dot)?,
                }
                self.variables.truncate(known);
            }
            Node::Range {
                variables,
                value,
                body,
                otherwise,
            } => {
                let elements = elements(self.pipeline(value, dot)?)?;
                if elements.is_empty() {
                    self.nodes(otherwise, dot)?;
                }
                for (index, element) in elements {
                    self.element(variables, index, element, body)?;
                }
            }
        }
        Ok(())
    }

    fn branches(&mut self, branches: &[(Option<Pipeline>, Vec<Node>)], dot: &Dot) -> Result<()> {
        let known = self.variables.len();
        for (condition, nodes) in branches {
            let holds = match condition {
                Some(condition) => is_true(&self.pipeline(condition, dot)?),
                None => true,
            };
            if holds {
                self.nodes(nodes, dot)?;
                break;
            }
        }
        self.variables.truncate(known);
        Ok(())
    }

    fn element(
        &mut self,
        variables: &[String],
        index: Value,
        element: Value,
        body: &[Node],
    ) -> Result<()> {
        let known = self.variables.len();
        match variables {
            [name] => self.variables.push((name.clone(), element.clone())),
            [first, second] => {
                self.variables.push((first.clone(), index));
                self.variables.push((second.clone(), element.clone()));
            }
            _ => {}
        }
        self.nodes(body, &Dot::of(element))?;
        self.variables.truncate(known);
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Dot) -> Result<Value> {
        let mut result = None;
        for command in &pipeline.commands {
            result = Some(self.command(command, result, dot)?);
        }
        let value = result.unwrap_or(Value::Null);
        match &pipeline.variable {
            None => {}
            Some((name, true)) => self.variables.push((name.clone(), value.clone())),
            Some((name, false)) => {
                let mut known = self.variables.iter_mut().rev();
                let variable = known.find(|(other, _)| other == name);
                variable.ok_or_else(|| unknown_variable(name))?.1 = value.clone();
            }
        }
        Ok(value)
    }

    fn command(&mut self, words: &[Operand], piped: Option<Value>, dot: &Dot) -> Result<Value> {
        let Some((first, rest)) = words.split_first() else {
            return Ok(Value::Null);
        };
        let Operand::Function(name) = first else {
            return match rest.is_empty() && piped.is_none() {
                true => self.operand(first, dot),
                false => Err(TemplateError::new(
                    "a value is given arguments: only functions take some",
                )),
            };
        };
        if let Some(value) = self.short_circuit(name, rest, piped.as_ref(), dot)? {
            return Ok(value);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for word in rest {
            arguments.push(self.operand(word, dot)?);
        }
        arguments.extend(piped);
        match self.functions {
            Functions::Work => functions::call(name, &arguments),
            Functions::PassTitles => functions::pass_title(name, arguments),
        }
    }

    /// `and` and `or` look at no more of their arguments than they need.
    fn short_circuit(
        &mut self,
        name: &str,
        words: &[Operand],
        piped: Option<&Value>,
        dot: &Dot,
    ) -> Result<Option<Value>> {
        let ends_at = match name {
            "and" => false,
            "or" => true,
            _ => return Ok(None),
        };
        let mut last = None;
        for word in words {
            let value = self.operand(word, dot)?;
            if is_true(&value) == ends_at {
                return Ok(Some(value));
            }
            last = Some(value);
        }
        let value = piped.cloned().or(last);
        value
            .map(Some)
            .ok_or_else(|| TemplateError::new(format!("`{name}` needs an argument")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Dot) -> Result<Value> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Dot(fields) => follow(&dot.value, fields, dot.is_root),
            Operand::Variable(name, fields) if name.is_empty() => follow(self.root, fields, true),
            Operand::Variable(name, fields) => {
                let mut known = self.variables.iter().rev();
                let variable = known.find(|(other, _)| other == name);
                let (_, value) = variable.ok_or_else(|| unknown_variable(name))?;
                follow(value, fields, false)
            }
            Operand::Function(name) => functions::call(name, &[]),
            Operand::Group(pipeline, fields) => {
                let value = self.pipeline(pipeline, dot)?;
                follow(&value, fields, false)
            }
        }
    }
}

/// Returns the field of a field. A value's own fields are all known, those below are not: what
/// an image does not say has no value.
fn follow(value: &Value, fields: &[String], is_root: bool) -> Result<Value> {
    let mut value = value;
    for (depth, field) in fields.iter().enumerate() {
        value = match value {
            Value::Object(object) => match object.get(field) {
                Some(value) => value,
                None if is_root && depth == 0 => {
                    let known: Vec<_> = object.keys().map(String::as_str).collect();
                    let known = known.join(", ");
                    let text = format!("there is no field `.{field}`; there are {known}");
                    return Err(TemplateError::new(text));
                }
                None => &Value::Null,
            },
            Value::Null => &Value::Null,
            other => {
                let kind = functions::kind_of(other);
                let text = format!("there is no field `.{field}` in {kind}");
                return Err(TemplateError::new(text));
            }
        };
    }
    Ok(value.clone())
}

fn unknown_variable(name: &str) -> TemplateError {
    TemplateError::new(format!("there is no variable `${name}`"))
}

/// Returns what `range` goes through: lists by place, objects by key, numbers from 0 on.
fn elements(value: Value) -> Result<Vec<(Value, Value)>> {
    Ok(match value {
        Value::Null => Vec::new(),
        Value::Array(list) => {
            let numbered = list.into_iter().enumerate();
            numbered
                .map(|(index, value)| (Value::from(index), value))
                .collect()
        }
        Value::Object(object) => {
            let mut pairs: Vec<_> = object.into_iter().collect();
            pairs.sort_by(|one, other| one.0.cmp(&other.0));
            let pairs = pairs.into_iter();
            pairs
                .map(|(key, value)| (Value::String(key), value))
                .collect()
        }
        other => {
            let kind = functions::kind_of(&other);
            let text = format!("`range` cannot go through {kind}");
            return Err(TemplateError::new(text));
        }
    })
}
