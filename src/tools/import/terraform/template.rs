//! Evaluates texts with `${…}` and `%{…}`.

use hcl::edit::template::{
    Directive, Element, ForDirective, IfDirective, StringTemplate, Strip, Template,
};
use serde_json::Value;

use super::eval::pairs;
use super::translation::Scope;
use super::value::{Evaluated, MAX_SIZE, Mistake, boolean, reference_in, text, unresolved};

impl Scope<'_> {
    /// A quoted text; one that is a single `${…}` has the type of its value.
    pub(super) fn string(&self, template: &StringTemplate) -> Evaluated {
        if let Some(Element::Interpolation(only)) = template.as_single_element() {
            return self.eval(&only.expr);
        }
        let elements: Vec<&Element> = template.iter().collect();
        self.elements(&elements, (false, false))
    }

    pub(super) fn template(&self, template: &Template) -> Evaluated {
        let elements: Vec<&Element> = template.iter().collect();
        self.elements(&elements, (false, false))
    }

    /// `strip` is whether the directives before and after remove the white space at the ends.
    fn elements(&self, elements: &[&Element], strip: (bool, bool)) -> Evaluated {
        let mut all = String::new();
        for (n, element) in elements.iter().enumerate() {
            match element {
                Element::Literal(literal) => {
                    let before = match n.checked_sub(1) {
                        Some(before) => ends(elements[before]).1,
                        None => strip.0,
                    };
                    let after = elements.get(n + 1).map_or(strip.1, |next| ends(next).0);
                    let mut kept = literal.value().as_str();
                    if before {
                        kept = kept.trim_start();
                    }
                    if after {
                        kept = kept.trim_end();
                    }
                    all.push_str(kept);
                }
                Element::Interpolation(inner) => all.push_str(&text(&self.eval(&inner.expr)?)),
                Element::Directive(directive) => all.push_str(&text(&match &**directive {
                    Directive::If(directive) => self.if_directive(directive)?,
                    Directive::For(directive) => self.for_directive(directive)?,
                })),
            }
            if all.len() > MAX_SIZE {
                return Ok(unresolved("a text of more than 256 KiB"));
            }
        }
        Ok(Value::String(all))
    }

    fn if_directive(&self, directive: &IfDirective) -> Evaluated {
        let condition = self.eval(&directive.if_expr.cond_expr)?;
        let (start, end) = (directive.if_expr.strip, directive.endif_expr.strip);
        let otherwise = directive.else_expr.as_ref();
        let middle = otherwise.map_or(end, |otherwise| otherwise.strip);
        match (boolean(&condition), otherwise) {
            (Some(true), _) => self.body(&directive.if_expr.template, start, middle),
            (Some(false), Some(otherwise)) => self.body(&otherwise.template, middle, end),
            (Some(false), None) => Ok(Value::from("")),
            (None, _) => unknown(&condition),
        }
    }

    fn for_directive(&self, directive: &ForDirective) -> Evaluated {
        let intro = &directive.for_expr;
        let collection = self.eval(&intro.collection_expr)?;
        let Some(pairs) = pairs(&collection) else {
            return unknown(&collection);
        };
        let mut all = String::new();
        for (key, value) in pairs {
            let mut scope = self.with(intro.value_var.as_str(), value);
            if let Some(name) = &intro.key_var {
                scope = scope.with(name.as_str(), key);
            }
            let body = scope.body(&intro.template, intro.strip, directive.endfor_expr.strip)?;
            all.push_str(&text(&body));
            if all.len() > MAX_SIZE {
                return Ok(unresolved("a text of more than 256 KiB"));
            }
        }
        Ok(Value::String(all))
    }

    fn body(&self, template: &Template, before: Strip, after: Strip) -> Evaluated {
        let elements: Vec<&Element> = template.iter().collect();
        self.elements(&elements, (strips_end(before), strips_start(after)))
    }
}

fn unknown(value: &Value) -> Evaluated {
    reference_in(value).map(unresolved).ok_or(Mistake)
}

/// Whether an element removes the white space before and after it.
fn ends(element: &Element) -> (bool, bool) {
    let (first, last) = match element {
        Element::Literal(_) => return (false, false),
        Element::Interpolation(inner) => (inner.strip, inner.strip),
        Element::Directive(directive) => match &**directive {
            Directive::If(directive) => (directive.if_expr.strip, directive.endif_expr.strip),
            Directive::For(directive) => (directive.for_expr.strip, directive.endfor_expr.strip),
        },
    };
    (strips_start(first), strips_end(last))
}

fn strips_start(strip: Strip) -> bool {
    matches!(strip, Strip::Start | Strip::Both)
}

fn strips_end(strip: Strip) -> bool {
    matches!(strip, Strip::End | Strip::Both)
}
