//! Operators on known values.

use hcl::edit::expr::{BinaryOperator, UnaryOperator};
use serde_json::Value;

use super::value::{boolean, from_float, number};

pub(super) fn unary(operator: UnaryOperator, value: &Value) -> Option<Value> {
    match operator {
        UnaryOperator::Neg => from_float(-number(value)?),
        UnaryOperator::Not => Some(Value::Bool(!boolean(value)?)),
    }
}

pub(super) fn binary(left: &Value, operator: BinaryOperator, right: &Value) -> Option<Value> {
    use BinaryOperator as Op;
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
        Op::Eq => Some(Value::Bool(equal(left, right))),
        Op::NotEq => Some(Value::Bool(!equal(left, right))),
        Op::LessEq => compare(f64::le),
        Op::GreaterEq => compare(f64::ge),
        Op::Less => compare(f64::lt),
        Op::Greater => compare(f64::gt),
        Op::Plus => compute(|left, right| left + right),
        Op::Minus => compute(|left, right| left - right),
        Op::Mul => compute(|left, right| left * right),
        Op::Div => compute(|left, right| left / right),
        Op::Mod => compute(|left, right| left % right),
        Op::And => Some(Value::Bool(boolean(left)? && boolean(right)?)),
        Op::Or => Some(Value::Bool(boolean(left)? || boolean(right)?)),
    }
}

/// Compares values; `80` and `80.0` are equal.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}
