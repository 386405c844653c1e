//! Evaluates expressions as far as their values are known without AWS.

use std::rc::Rc;

use hcl::edit::Decorated;
use hcl::edit::expr::{
    BinaryOperator, Conditional, Expression, ForExpr, FuncCall, ObjectKey, ObjectValue, Traversal,
    TraversalOperator,
};
use serde_json::{Map, Number, Value};

use super::functions;
use super::operators::{binary, unary};
use super::translation::Scope;
use super::value::{
    Evaluated, MAX_SIZE, Mistake, boolean, reference_in, size, text, unresolved, whole_reference,
};

impl Scope<'_> {
    /// The value of an expression; a marked text if it has an error.
    pub(super) fn value(&self, expression: &Expression) -> Value {
        self.eval(expression)
            .unwrap_or_else(|Mistake| written(expression))
    }

    pub(super) fn eval(&self, expression: &Expression) -> Evaluated {
        let Some(_guard) = self.module.translation.enter() else {
            return Ok(unresolved("more than can be computed here"));
        };
        match expression {
            Expression::Null(_) => Ok(Value::Null),
            Expression::Bool(value) => Ok(Value::Bool(**value)),
            Expression::Number(number) => {
                let number = number.value();
                let whole = number.as_i64().map(Number::from);
                let number = whole.or_else(|| number.as_f64().and_then(Number::from_f64));
                Ok(number.map_or_else(|| written(expression), Value::Number))
            }
            Expression::String(text) => Ok(Value::String(text.value().clone())),
            Expression::Array(array) => self.list(array.iter()),
            Expression::Object(object) => self.object(object.iter()),
            Expression::StringTemplate(template) => self.string(template),
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template),
            Expression::Parenthesis(inner) => self.eval(inner.inner()),
            Expression::Conditional(conditional) => self.conditional(conditional),
            Expression::FuncCall(call) => self.call(call, expression),
            Expression::Traversal(traversal) => self.traverse(traversal, expression),
            Expression::UnaryOp(operation) => {
                let value = self.eval(&operation.expr)?;
                if reference_in(&value).is_some() {
                    return Ok(written(expression));
                }
                unary(*operation.operator.value(), &value).ok_or(Mistake)
            }
            Expression::BinaryOp(operation) => {
                let operator = *operation.operator.value();
                let left = self.eval(&operation.lhs_expr)?;
                let right = self.eval(&operation.rhs_expr)?;
                match self.binary(&left, operator, &right) {
                    Some(value) => Ok(value),
                    None if reference_in(&left).is_some() || reference_in(&right).is_some() => {
                        Ok(written(expression))
                    }
                    None => Err(Mistake),
                }
            }
            Expression::Variable(name) => {
                let named = self.names.get(name.as_str());
                Ok(named.cloned().unwrap_or_else(|| written(expression)))
            }
            Expression::ForExpr(for_expr) => self.for_expr(for_expr),
        }
    }

    /// A part of a list or object: an error in it only affects that part, except within `try`.
    fn part(&self, expression: &Expression) -> Evaluated {
        match self.eval(expression) {
            Err(Mistake) if !self.module.translation.is_trying() => Ok(written(expression)),
            evaluated => evaluated,
        }
    }

    fn list<'e>(&self, items: impl Iterator<Item = &'e Expression>) -> Evaluated {
        let mut list = Vec::new();
        let mut bytes = 0;
        for item in items {
            let value = self.part(item)?;
            bytes += size(&value);
            if bytes > MAX_SIZE {
                return Ok(too_large());
            }
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    /// An object; of a repeated key the last value counts.
    fn object<'e>(
        &self,
        entries: impl Iterator<Item = (&'e ObjectKey, &'e ObjectValue)>,
    ) -> Evaluated {
        let mut map = Map::new();
        let mut bytes = 0;
        for (key, value) in entries {
            let key = match key {
                ObjectKey::Ident(ident) => ident.to_string(),
                ObjectKey::Expression(Expression::Variable(name)) => name.to_string(),
                ObjectKey::Expression(expression) => text(&self.eval(expression)?),
            };
            let value = self.part(value.expr())?;
            bytes += key.len() + size(&value);
            if bytes > MAX_SIZE {
                return Ok(too_large());
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn conditional(&self, conditional: &Conditional) -> Evaluated {
        let condition = self.eval(&conditional.cond_expr)?;
        match boolean(&condition) {
            Some(true) => return self.eval(&conditional.true_expr),
            Some(false) => return self.eval(&conditional.false_expr),
            None => {}
        }
        let Some(reference) = reference_in(&condition) else {
            return Err(Mistake);
        };
        let both = (
            self.value(&conditional.true_expr),
            self.value(&conditional.false_expr),
        );
        if both.0 == both.1 {
            return Ok(both.0);
        }
        Ok(unresolved(reference))
    }

    fn for_expr(&self, for_expr: &ForExpr) -> Evaluated {
        let intro = &for_expr.intro;
        let collection = self.eval(&intro.collection_expr)?;
        let Some(pairs) = pairs(&collection) else {
            return match reference_in(&collection) {
                Some(reference) => Ok(unresolved(reference)),
                None => Err(Mistake),
            };
        };
        let (mut list, mut map, mut bytes) = (Vec::new(), Map::new(), 0);
        for (key, value) in pairs {
            let mut scope = self.with(intro.value_var.as_str(), value);
            if let Some(name) = &intro.key_var {
                scope = scope.with(name.as_str(), key);
            }
            if let Some(condition) = &for_expr.cond {
                let condition = scope.eval(&condition.expr)?;
                match boolean(&condition) {
                    Some(true) => {}
                    Some(false) => continue,
                    None => {
                        let reference = reference_in(&condition).ok_or(Mistake)?;
                        return Ok(unresolved(reference));
                    }
                }
            }
            let value = scope.eval(&for_expr.value_expr)?;
            bytes += size(&value) + 8;
            if bytes > MAX_SIZE {
                return Ok(too_large());
            }
            let Some(key) = &for_expr.key_expr else {
                list.push(value);
                continue;
            };
            let key = text(&scope.eval(key)?);
            if for_expr.grouping {
                let group = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                group.as_array_mut().ok_or(Mistake)?.push(value);
            } else {
                map.insert(key, value);
            }
        }
        Ok(match for_expr.key_expr {
            Some(_) => Value::Object(map),
            None => Value::Array(list),
        })
    }

    fn call(&self, call: &FuncCall, expression: &Expression) -> Evaluated {
        if call.name.is_namespaced() {
            return Ok(written(expression));
        }
        let name = call.name.name.as_str();
        match name {
            "try" => {
                let _trying = self.module.translation.trying();
                let mut tried = call.args.iter().map(|argument| self.eval(argument));
                return tried.find(Result::is_ok).unwrap_or(Err(Mistake));
            }
            "can" => {
                let _trying = self.module.translation.trying();
                let is_right = call.args.iter().all(|argument| self.eval(argument).is_ok());
                return Ok(Value::Bool(is_right));
            }
            _ => {}
        }
        let Value::Array(mut arguments) = self.list(call.args.iter())? else {
            return Ok(too_large());
        };
        if call.args.expand_final() {
            match arguments.pop() {
                Some(Value::Array(last)) => arguments.extend(last),
                _ => return Ok(written(expression)),
            }
        }
        let result = match name {
            "file" | "templatefile" | "fileexists" => self.file(name, &arguments),
            _ => functions::call(name, &arguments),
        };
        match result {
            Ok(Some(value)) if size(&value) > MAX_SIZE => Ok(too_large()),
            Ok(Some(value)) => Ok(value),
            Ok(None) => Ok(written(expression)),
            Err(Mistake) => Err(Mistake),
        }
    }

    /// The functions that read files.
    fn file(&self, name: &str, arguments: &[Value]) -> Evaluated<Option<Value>> {
        let [path, rest @ ..] = arguments else {
            return Err(Mistake);
        };
        if reference_in(path).is_some() {
            return Ok(None);
        }
        let read = self.module.read_file(&text(path));
        match (name, read, rest) {
            ("fileexists", read, _) => Ok(Some(Value::Bool(read.is_some()))),
            ("file", Some(read), _) => Ok(Some(Value::String(read))),
            (_, Some(read), [Value::Object(names)]) => self.render(&read, names).map(Some),
            _ => Ok(None),
        }
    }

    /// Renders a template with these names.
    pub(super) fn render(&self, template: &str, names: &Map<String, Value>) -> Evaluated {
        let Ok(template) = hcl::edit::parser::parse_template(template) else {
            return Ok(unresolved("a template that is not HCL"));
        };
        let mut scope = Self::new(Rc::clone(&self.module));
        for (name, value) in names {
            scope = scope.with(name, value.clone());
        }
        scope.template(&template)
    }

    fn traverse(&self, traversal: &Traversal, expression: &Expression) -> Evaluated {
        let operators = traversal.operators.as_slice();
        let Expression::Variable(root) = &traversal.expr else {
            return self.steps(self.eval(&traversal.expr)?, operators, expression);
        };
        if let Some(value) = self.names.get(root.as_str()) {
            return self.steps(value.clone(), operators, expression);
        }
        let mut names = operators
            .iter()
            .map_while(|operator| match operator.value() {
                TraversalOperator::GetAttr(name) => Some(name.as_str()),
                _ => None,
            });
        let (Some(first), second) = (names.next(), names.next()) else {
            return Ok(written(expression));
        };
        let (value, used) = match (root.as_str(), second) {
            ("var", _) => (self.module.variable(first), 1),
            ("local", _) => (self.module.local(first), 1),
            ("module", _) => (self.module.call(first), 1),
            ("path", _) => (Some(self.module.path(first)), 1),
            ("terraform", _) if first == "workspace" => (Some(Value::from("default")), 1),
            ("data", Some(second)) => (self.module.resource(&format!("data.{first}.{second}")), 2),
            ("each" | "count" | "self" | "terraform" | "data", _) => (None, 1),
            (kind, _) => (self.module.resource(&format!("{kind}.{first}")), 1),
        };
        let Some(value) = value else {
            return Ok(written(expression));
        };
        self.steps(value, &operators[used..], expression)
    }

    fn steps(
        &self,
        mut value: Value,
        operators: &[Decorated<TraversalOperator>],
        whole: &Expression,
    ) -> Evaluated {
        for (n, operator) in operators.iter().enumerate() {
            value = match operator.value() {
                TraversalOperator::GetAttr(name) => {
                    self.step(&value, &Value::from(name.as_str()))?
                }
                // One instance stands for all of them if their number is unknown.
                TraversalOperator::Index(_) | TraversalOperator::LegacyIndex(_)
                    if self.is_only_one(&value) =>
                {
                    value
                }
                TraversalOperator::LegacyIndex(at) => {
                    self.step(&value, &Value::from(*at.value()))?
                }
                TraversalOperator::Index(index) => {
                    let index = self.eval(index)?;
                    if reference_in(&index).is_some() {
                        return Ok(written(whole));
                    }
                    self.step(&value, &index)?
                }
                TraversalOperator::AttrSplat(_) => {
                    let is_attribute = |operator: &&Decorated<TraversalOperator>| {
                        matches!(operator.value(), TraversalOperator::GetAttr(_))
                    };
                    let after = &operators[n + 1..];
                    let (each, rest) =
                        after.split_at(after.iter().take_while(is_attribute).count());
                    let list = self.splat(value, each, whole)?;
                    return self.steps(list, rest, whole);
                }
                TraversalOperator::FullSplat(_) => {
                    return self.splat(value, &operators[n + 1..], whole);
                }
            };
        }
        Ok(value)
    }

    fn splat(
        &self,
        value: Value,
        operators: &[Decorated<TraversalOperator>],
        whole: &Expression,
    ) -> Evaluated {
        let items = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            value if self.is_unknown(&value) => return Ok(written(whole)),
            value => vec![value],
        };
        items
            .into_iter()
            .map(|item| self.steps(item, operators, whole))
            .collect::<Evaluated<Vec<_>>>()
            .map(Value::Array)
    }

    /// Whether it is the only instance of a resource or module.
    fn is_only_one(&self, value: &Value) -> bool {
        let reference = whole_reference(value).filter(|reference| !reference.ends_with(']'));
        reference.is_some_and(|reference| self.module.translation.knows(reference))
    }

    /// Whether it is a reference to something else than a resource or module.
    fn is_unknown(&self, value: &Value) -> bool {
        whole_reference(value).is_some_and(|reference| !self.module.translation.knows(reference))
    }

    fn step(&self, value: &Value, key: &Value) -> Evaluated {
        if let Some(reference) = whole_reference(value) {
            let known = key
                .as_str()
                .and_then(|name| self.module.translation.attribute(reference, name));
            return known.unwrap_or_else(|| {
                Ok(unresolved(&match key {
                    Value::String(name) if is_name(name) => format!("{reference}.{name}"),
                    key => format!("{reference}[{key}]"),
                }))
            });
        }
        match value {
            Value::Object(map) => map.get(&text(key)).cloned().ok_or(Mistake),
            Value::Array(items) => match (super::value::index(key), items.as_slice()) {
                (Some(at), items) => items.get(at).cloned().ok_or(Mistake),
                // Terraform before 0.12 accepted this for the only instance of `count`.
                (None, [only]) if whole_reference(only).is_some() => self.step(only, key),
                (None, _) => Err(Mistake),
            },
            Value::String(_) if reference_in(value).is_some() => {
                Ok(unresolved(reference_in(value).unwrap_or_default()))
            }
            _ => Err(Mistake),
        }
    }

    fn binary(&self, left: &Value, operator: BinaryOperator, right: &Value) -> Option<Value> {
        use BinaryOperator as Op;
        let marked = (reference_in(left).is_some(), reference_in(right).is_some());
        match (operator, marked) {
            (Op::And, _) if boolean(left) == Some(false) || boolean(right) == Some(false) => {
                Some(Value::Bool(false))
            }
            (Op::Or, _) if boolean(left) == Some(true) || boolean(right) == Some(true) => {
                Some(Value::Bool(true))
            }
            (_, (false, false)) => binary(left, operator, right),
            // A reference to a resource is neither empty nor null.
            (Op::Eq | Op::NotEq, (true, false)) if self.is_other(left, right) => {
                Some(Value::Bool(operator == Op::NotEq))
            }
            (Op::Eq | Op::NotEq, (false, true)) if self.is_other(right, left) => {
                Some(Value::Bool(operator == Op::NotEq))
            }
            _ => None,
        }
    }

    fn is_other(&self, marked: &Value, plain: &Value) -> bool {
        let is_nothing = plain.is_null() || plain.as_str() == Some("");
        let is_list = marked.is_array() || marked.is_object();
        let names_resource = whole_reference(marked).is_some_and(|reference| {
            let translation = &self.module.translation;
            translation.names_resource(reference) || translation.knows(reference)
        });
        is_nothing && (is_list || names_resource)
    }
}

/// Keys and values of a collection; the keys of lists are indexes.
pub(super) fn pairs(collection: &Value) -> Option<Vec<(Value, Value)>> {
    match collection {
        Value::Array(items) => Some(
            items
                .iter()
                .enumerate()
                .map(|(n, item)| (Value::from(n), item.clone()))
                .collect(),
        ),
        Value::Object(map) => Some(
            map.iter()
                .map(|(key, value)| (Value::from(key.as_str()), value.clone()))
                .collect(),
        ),
        _ => None,
    }
}

fn written(expression: &Expression) -> Value {
    unresolved(&expression.to_string())
}

fn too_large() -> Value {
    unresolved("a value of more than 256 KiB")
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    !text.is_empty() && text.chars().all(legal)
}
