//! The values of expressions, as far as they can be known without AWS.
//!
//! A reference that cannot be resolved becomes a marked text with the reference in it.
//! Most of those are what Terraform learns from AWS, and all that is asked of them here is
//! which resource they name: the marked text of `aws_lb.main.arn` tells.

use std::collections::HashMap;
use std::rc::Rc;

use hcl::edit::expr::{
    BinaryOperator, Expression, FuncCall, ObjectKey, Traversal, TraversalOperator, UnaryOperator,
};
use hcl::edit::template::{Element, StringTemplate, Template};
use serde_json::{Map, Number, Value, json};

use super::functions;
use super::source::{Attribute, Block};

/// Around a reference that is not resolved; both are for private use in Unicode.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// Bytes of a value that others refer to. Without a bound a few lines that double each
/// other's values would fill the memory.
const MAX_VALUE: usize = 16 * 1024;

/// How often values are looked at again after those that they refer to: locals of locals of
/// locals. People write two or three.
const PASSES: usize = 12;

/// What expressions may refer to. A clone shares it all.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    variables: Rc<HashMap<String, Value>>,
    locals: Rc<HashMap<String, Value>>,
    /// By type, then by name.
    resources: Rc<HashMap<String, HashMap<String, Value>>>,
    /// `key` and `value` within one of those that a `for_each` makes.
    each: HashMap<&'static str, Value>,
}

/// A text for what cannot be resolved.
pub(super) fn unresolved(reference: &str) -> Value {
    Value::String(format!("{OPEN}{}{CLOSE}", reference.trim()))
}

/// The first unresolved reference in a value.
pub(super) fn reference_in(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => {
            let (_, rest) = text.split_once(OPEN)?;
            Some(rest.split_once(CLOSE).map_or(rest, |(inner, _)| inner))
        }
        Value::Array(items) => items.iter().find_map(reference_in),
        Value::Object(map) => map.values().find_map(reference_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// `aws_alb…` is an older name of `aws_lb…`.
pub(super) fn kind(written: &str) -> String {
    match written.strip_prefix("aws_alb") {
        Some(rest) if rest.is_empty() || rest.starts_with('_') => format!("aws_lb{rest}"),
        _ => written.to_owned(),
    }
}

impl Scope {
    /// Resolves what can be resolved: variables by their values or defaults, then locals and
    /// the attributes of resources, which may refer to each other.
    pub(super) fn new(files: &[Block], values: &[(String, String)]) -> Self {
        let mut scope = Self::default();
        for block in blocks(files, "variable") {
            let default = block.attributes.iter().find(|at| at.key == "default");
            if let (Some(name), Some(default)) = (block.labels.first(), default) {
                let value = scope.value(&default.expression);
                Rc::make_mut(&mut scope.variables).insert(name.clone(), value);
            }
        }
        let assigned = files.iter().flat_map(|file| &file.attributes);
        for attribute in assigned {
            let value = scope.value(&attribute.expression);
            Rc::make_mut(&mut scope.variables).insert(attribute.key.clone(), value);
        }
        for (name, value) in values {
            let value = Value::String(value.clone());
            Rc::make_mut(&mut scope.variables).insert(name.clone(), value);
        }
        for _ in 0..PASSES {
            let before = (scope.locals.clone(), scope.resources.clone());
            scope.resolve(files);
            if before == (scope.locals.clone(), scope.resources.clone()) {
                break;
            }
        }
        scope
    }

    /// The same within one of those that a `for_each` makes.
    pub(super) fn within(&self, key: &str, value: &Value) -> Self {
        let mut scope = self.clone();
        scope.each = [("key", Value::from(key)), ("value", value.clone())].into();
        scope
    }

    fn resolve(&mut self, files: &[Block]) {
        for attribute in blocks(files, "locals").flat_map(|block| &block.attributes) {
            let value = self.bounded(attribute);
            Rc::make_mut(&mut self.locals).insert(attribute.key.clone(), value);
        }
        for block in blocks(files, "resource") {
            let [written, name, ..] = block.labels.as_slice() else {
                continue;
            };
            let mut map = Map::new();
            for key in ["arn", "id"] {
                let reference = format!("{written}.{name}.{key}");
                map.insert(key.to_owned(), unresolved(&reference));
            }
            for attribute in &block.attributes {
                map.insert(attribute.key.clone(), self.bounded(attribute));
            }
            // Images are found by their repository's name here.
            if let ("aws_ecr_repository", Some(name)) = (written.as_str(), map.get("name")) {
                map.insert("repository_url".to_owned(), name.clone());
            }
            let counted = map.contains_key("count");
            let value = Value::Object(map);
            let value = if counted { json!([value]) } else { value };
            let named = Rc::make_mut(&mut self.resources)
                .entry(written.clone())
                .or_default();
            named.insert(name.clone(), value);
        }
    }

    fn bounded(&self, attribute: &Attribute) -> Value {
        let value = self.value(&attribute.expression);
        if size(&value) > MAX_VALUE {
            unresolved("a value of more than 16 KiB")
        } else {
            value
        }
    }

    /// The value of an expression.
    pub(super) fn value(&self, expression: &Expression) -> Value {
        let written = || unresolved(&expression.to_string());
        match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Bool(**value),
            Expression::Number(number) => {
                let number = number.value();
                let whole = number.as_i64().map(Number::from);
                let number = whole.or_else(|| number.as_f64().and_then(Number::from_f64));
                number.map_or_else(written, Value::Number)
            }
            Expression::String(text) => Value::String(text.value().clone()),
            Expression::Array(array) => array.iter().map(|item| self.value(item)).collect(),
            Expression::Object(object) => {
                let entry = |(key, value): (&ObjectKey, &hcl::edit::expr::ObjectValue)| {
                    (self.key(key), self.value(value.expr()))
                };
                Value::Object(object.iter().map(entry).collect())
            }
            Expression::StringTemplate(template) => self.string(template),
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template),
            Expression::Parenthesis(inner) => self.value(inner.inner()),
            Expression::Conditional(conditional) => match self.value(&conditional.cond_expr) {
                Value::Bool(true) => self.value(&conditional.true_expr),
                Value::Bool(false) => self.value(&conditional.false_expr),
                _ => written(),
            },
            Expression::FuncCall(call) => self.call(call).unwrap_or_else(written),
            Expression::Traversal(traversal) => self.traverse(traversal).unwrap_or_else(written),
            Expression::UnaryOp(operation) => {
                let value = self.value(&operation.expr);
                unary(*operation.operator.value(), &value).unwrap_or_else(written)
            }
            Expression::BinaryOp(operation) => {
                let left = self.value(&operation.lhs_expr);
                let right = self.value(&operation.rhs_expr);
                let operator = *operation.operator.value();
                binary(&left, operator, &right).unwrap_or_else(written)
            }
            Expression::Variable(_) | Expression::ForExpr(_) => written(),
        }
    }

    fn key(&self, key: &ObjectKey) -> String {
        match key {
            ObjectKey::Ident(ident) => ident.to_string(),
            ObjectKey::Expression(Expression::Variable(name)) => name.to_string(),
            ObjectKey::Expression(expression) => text(&self.value(expression)),
        }
    }

    fn string(&self, template: &StringTemplate) -> Value {
        match template.as_single_element() {
            Some(Element::Interpolation(only)) => self.value(&only.expr),
            _ => Value::String(
                template
                    .iter()
                    .map(|element| self.element(element))
                    .collect(),
            ),
        }
    }

    fn template(&self, template: &Template) -> Value {
        Value::String(
            template
                .iter()
                .map(|element| self.element(element))
                .collect(),
        )
    }

    fn element(&self, element: &Element) -> String {
        match element {
            Element::Literal(literal) => literal.value().clone(),
            Element::Interpolation(inner) => text(&self.value(&inner.expr)),
            Element::Directive(_) => text(&unresolved("a template directive")),
        }
    }

    fn call(&self, call: &FuncCall) -> Option<Value> {
        if call.name.is_namespaced() || call.args.expand_final() {
            return None;
        }
        let arguments: Vec<Value> = call.args.iter().map(|arg| self.value(arg)).collect();
        functions::call(call.name.name.as_str(), &arguments)
    }

    fn traverse(&self, traversal: &Traversal) -> Option<Value> {
        let Expression::Variable(root) = &traversal.expr else {
            return self.steps(self.value(&traversal.expr), &traversal.operators);
        };
        let [first, rest @ ..] = traversal.operators.as_slice() else {
            return None;
        };
        let TraversalOperator::GetAttr(name) = first.value() else {
            return None;
        };
        let value = match root.as_str() {
            "var" => self.variables.get(name.as_str()),
            "local" => self.locals.get(name.as_str()),
            "each" => self.each.get(name.as_str()),
            kind => self.resources.get(kind)?.get(name.as_str()),
        };
        self.steps(value?.clone(), rest)
    }

    fn steps(
        &self,
        mut value: Value,
        operators: &[hcl::edit::Decorated<TraversalOperator>],
    ) -> Option<Value> {
        for operator in operators {
            value = match operator.value() {
                TraversalOperator::GetAttr(name) => value.get(name.as_str())?.clone(),
                TraversalOperator::LegacyIndex(at) => {
                    value.get(usize::try_from(*at.value()).ok()?)?.clone()
                }
                TraversalOperator::Index(index) => match self.value(index) {
                    Value::String(key) => value.get(&key)?.clone(),
                    index => value.get(usize::try_from(index.as_u64()?).ok()?)?.clone(),
                },
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => return None,
            };
        }
        Some(value)
    }
}

/// All top-level blocks of a kind.
pub(super) fn blocks<'a>(files: &'a [Block], kind: &'a str) -> impl Iterator<Item = &'a Block> {
    let all = files.iter().flat_map(|file| &file.blocks);
    all.filter(move |block| block.kind == kind)
}

/// A value within a text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A number, or a text that holds one: Terraform takes both for each other.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text
            .trim()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Value::Object(map) => {
            map.iter()
                .map(|(key, value)| key.len() + size(value))
                .sum::<usize>()
                + 8
        }
    }
}

fn from_float(float: f64) -> Option<Value> {
    let whole = float.fract() == 0.0 && float.abs() < 1e15;
    if whole {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and below 2^53"
        )]
        return Some(Value::from(float as i64));
    }
    Number::from_f64(float).map(Value::Number)
}

fn unary(operator: UnaryOperator, value: &Value) -> Option<Value> {
    match operator {
        UnaryOperator::Neg => from_float(-number(value)?),
        UnaryOperator::Not => Some(Value::Bool(!value.as_bool()?)),
    }
}

fn binary(left: &Value, operator: BinaryOperator, right: &Value) -> Option<Value> {
    use BinaryOperator as Op;
    if reference_in(left).is_some() || reference_in(right).is_some() {
        return None;
    }
    let numbers = || Some((number(left)?, number(right)?));
    let compare = |compare: fn(&f64, &f64) -> bool| {
        let (left, right) = numbers()?;
        Some(Value::Bool(compare(&left, &right)))
    };
    let compute = |compute: fn(f64, f64) -> f64| {
        let (left, right) = numbers()?;
        from_float(compute(left, right))
    };
    match operator {
        Op::Eq => Some(Value::Bool(left == right)),
        Op::NotEq => Some(Value::Bool(left != right)),
        Op::LessEq => compare(f64::le),
        Op::GreaterEq => compare(f64::ge),
        Op::Less => compare(f64::lt),
        Op::Greater => compare(f64::gt),
        Op::Plus => compute(|left, right| left + right),
        Op::Minus => compute(|left, right| left - right),
        Op::Mul => compute(|left, right| left * right),
        Op::Div => compute(|left, right| left / right),
        Op::Mod => compute(|left, right| left % right),
        Op::And => Some(Value::Bool(left.as_bool()? && right.as_bool()?)),
        Op::Or => Some(Value::Bool(left.as_bool()? || right.as_bool()?)),
    }
}
