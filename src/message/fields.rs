//! The fields of a head or of a trailer section: text, and an index.

use std::fmt;

use super::chars::{TOKEN, prefix};
use super::{FieldName, NameSet, Span, list};

/// Field lines in their order, with their case and duplicates.
///
/// A removal is a mark in the index; what is added stands at the end of the text. Neither
/// allocates once the text and the index have grown.
#[derive(Clone, Default)]
pub struct Fields {
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// Names that were ever added since the last `clear`.
    seen: NameSet,
}

/// A field line.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    value: Span,
    id: FieldName,
    is_removed: bool,
    /// Whether the text has `name: value` and CRLF in one piece, so that it can be copied.
    is_verbatim: bool,
}

/// A field line, as its name, its value without whitespace around it, and what the name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'f> {
    /// The name as it was spelt.
    pub name: &'f [u8],
    /// The value, which may contain bytes beyond ASCII.
    pub value: &'f [u8],
    /// The name, if it is one that Weir knows; else [`FieldName::Other`].
    pub id: FieldName,
}

/// Text that may not stand where it was to be put: CR, LF, NUL or another control character in a
/// value, a name or method that is no token, a target or authority against its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid;

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not allowed by the grammar of HTTP")
    }
}

impl std::error::Error for Invalid {}

impl Fields {
    /// No fields, without an allocation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.seen = NameSet::default();
    }

    /// Gives back memory beyond `max_text` bytes of text, and beyond as many bytes of index.
    pub fn shrink(&mut self, max_text: usize) {
        self.text.shrink_to(max_text);
        self.entries.shrink_to(max_text / size_of::<Entry>());
    }

    /// The fields in their order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.present().map(|entry| self.field(entry))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.present().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.present().next().is_none()
    }

    /// The first value of a name. Not for [`FieldName::Other`], which all names share that Weir
    /// does not know: [`Fields::get_by_name`] tells them apart.
    pub fn get(&self, id: FieldName) -> Option<&[u8]> {
        self.get_all(id).next()
    }

    /// The values of a name, in their order. Not for [`FieldName::Other`], as [`Fields::get`].
    pub fn get_all(&self, id: FieldName) -> impl Iterator<Item = &[u8]> {
        let is_possible = self.seen.contains(id);
        let entries = if is_possible { &self.entries[..] } else { &[] };
        entries
            .iter()
            .filter(move |entry| entry.id == id && !entry.is_removed)
            .map(|entry| entry.value.of(&self.text))
    }

    /// The first value of a name, in whatever case.
    pub fn get_by_name(&self, name: &str) -> Option<&[u8]> {
        self.get_all_by_name(name).next()
    }

    /// The values of a name, in whatever case.
    pub fn get_all_by_name(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let name = Wanted::new(name.as_bytes());
        self.present()
            .filter(move |entry| name.is(entry, &self.text))
            .map(|entry| entry.value.of(&self.text))
    }

    /// Whether a field of that name is there.
    pub fn contains(&self, id: FieldName) -> bool {
        self.get(id).is_some()
    }

    /// `false` if none of the names is there. `true` promises nothing: fields that were removed
    /// count. One test of bits, where [`Fields::contains`] searches.
    pub fn may_contain(&self, names: NameSet) -> bool {
        self.seen.intersects(names)
    }

    /// The members of all lists under a name (RFC 9110 section 5.6.1), as of one list.
    pub fn members(&self, id: FieldName) -> impl Iterator<Item = &[u8]> {
        self.get_all(id).flat_map(list)
    }

    /// Whether a list has a token as a member, in whatever case.
    pub fn has_token(&self, id: FieldName, token: &str) -> bool {
        self.members(id)
            .any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Removes all fields of a name; says how many there were.
    pub fn remove(&mut self, id: FieldName) -> usize {
        self.remove_all(NameSet::of(&[id]))
    }

    /// Removes all fields of several names; says how many there were.
    pub fn remove_all(&mut self, names: NameSet) -> usize {
        if !self.seen.intersects(names) {
            return 0;
        }
        self.remove_where(|entry, _| names.contains(entry.id))
    }

    /// Removes all fields of several names, and shows each one.
    pub fn remove_each(&mut self, names: NameSet, mut removed: impl FnMut(Field<'_>)) {
        if !self.seen.intersects(names) {
            return;
        }
        self.remove_where(|entry, text| {
            let is_named = names.contains(entry.id);
            if is_named {
                removed(entry.field(text));
            }
            is_named
        });
    }

    /// Removes all fields of a name, in whatever case; says how many there were.
    pub fn remove_by_name(&mut self, name: &str) -> usize {
        let name = Wanted::new(name.as_bytes());
        self.remove_where(|entry, text| name.is(entry, text))
    }

    /// Keeps the fields of which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        self.remove_where(|entry, text| !keep(entry.field(text)));
    }

    /// Adds a field behind all others.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        let name = name.as_bytes();
        check_name(name)?;
        let value = checked_value(value)?;
        self.push(name, value, FieldName::from_bytes(name));
        Ok(())
    }

    /// As [`Fields::append`], for a known name.
    pub fn append_known(&mut self, id: FieldName, value: &[u8]) -> Result<(), Invalid> {
        self.append(id.as_str(), value)
    }

    /// Gives the first field of a name this value and removes its others; adds it if there is none.
    pub fn set(&mut self, id: FieldName, value: &[u8]) -> Result<(), Invalid> {
        self.set_by_name(id.as_str(), value)
    }

    /// As [`Fields::set`], for a name in whatever case.
    pub fn set_by_name(&mut self, name: &str, value: &[u8]) -> Result<(), Invalid> {
        let wanted = Wanted::new(name.as_bytes());
        let is_wanted = |entry: &Entry, text: &[u8]| !entry.is_removed && wanted.is(entry, text);
        let first = self.entries.iter().position(|e| is_wanted(e, &self.text));
        let Some(first) = first else {
            return self.append(name, value);
        };
        let value = self.add_text(checked_value(value)?);
        self.entries[first].value = value;
        self.entries[first].is_verbatim = false;
        for entry in &mut self.entries[first + 1..] {
            entry.is_removed |= wanted.is(entry, &self.text);
        }
        Ok(())
    }

    fn push(&mut self, name: &[u8], value: &[u8], id: FieldName) {
        let name = self.add_text(name);
        self.text.extend_from_slice(b": ");
        let value = self.add_text(value);
        self.text.extend_from_slice(b"\r\n");
        self.push_parsed(name, value, id, true);
    }

    fn remove_where(&mut self, mut is_wanted: impl FnMut(&Entry, &[u8]) -> bool) -> usize {
        let mut removed = 0;
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_removed) {
            if is_wanted(entry, &self.text) {
                entry.is_removed = true;
                removed += 1;
            }
        }
        removed
    }

    fn present(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.is_removed)
    }

    fn field(&self, entry: &Entry) -> Field<'_> {
        entry.field(&self.text)
    }
}

/// For the codec and the proxy. None of these checks names or values: `put` is an unchecked `set`,
/// `add` an unchecked `append`.
impl Fields {
    /// The text, which still has what was removed and replaced.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Makes the text as long as `read` is by copying the end of it: the text is the beginning of
    /// what was read.
    pub(crate) fn extend_text(&mut self, read: &[u8]) {
        let from = self.text.len();
        self.text
            .extend_from_slice(read.get(from..).unwrap_or_default());
    }

    /// Removes all fields of a name and adds one behind all others. The value has to be legal.
    pub(crate) fn put(&mut self, id: FieldName, value: &[u8]) {
        self.remove(id);
        self.add(id, value);
    }

    /// Adds a field behind all others. The value has to be legal.
    pub(crate) fn add(&mut self, id: FieldName, value: &[u8]) {
        debug_assert_eq!(checked_value(value), Ok(value), "{id:?} has no legal value");
        let (name, parts) = (
            id.with_colon(),
            [id.with_colon().as_bytes(), value, b"\r\n"],
        );
        let start = self.text.len();
        self.text.reserve(name.len() + value.len() + 2);
        for part in parts {
            self.text.extend_from_slice(part);
        }
        self.push_added(id, start, name.len(), value.len());
    }

    /// Adds a field behind all others with the first value of `from`, if there is one.
    pub(crate) fn add_copy(&mut self, id: FieldName, from: FieldName) {
        let Some(value) = self.span(from) else {
            return;
        };
        let (start, name) = (self.text.len(), id.with_colon());
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_within(value.range());
        self.text.extend_from_slice(b"\r\n");
        self.push_added(id, start, name.len(), value.range().len());
    }

    /// Adds all fields of `others` behind all others.
    pub(crate) fn add_all(&mut self, others: &Self) {
        let offset = self.text.len() as u32;
        self.text.extend_from_slice(&others.text);
        let moved = others.entries.iter().map(|entry| entry.moved(offset));
        self.entries.extend(moved);
        self.seen = self.seen.and(others.seen);
    }

    /// Takes a line into the index of which the text has the name, with colon and space, and the
    /// value.
    fn push_added(&mut self, id: FieldName, start: usize, name: usize, value: usize) {
        let begin = start + name;
        let (name, value) = (Span::new(start, begin - 2), Span::new(begin, begin + value));
        self.push_parsed(name, value, id, true);
    }

    /// Where the first value of a name is.
    fn span(&self, id: FieldName) -> Option<Span> {
        let is_wanted = |entry: &&Entry| entry.id == id && !entry.is_removed;
        self.entries.iter().find(is_wanted).map(|entry| entry.value)
    }

    /// Puts bytes at the end of the text.
    pub(crate) fn add_text(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(bytes);
        Span::new(start, self.text.len())
    }

    /// Adds a field to the index. Its name and value are in the text, or will be when it is read.
    pub(crate) fn push_parsed(
        &mut self,
        name: Span,
        value: Span,
        id: FieldName,
        is_verbatim: bool,
    ) {
        self.seen.insert(id);
        self.entries.push(Entry {
            name,
            value,
            id,
            is_removed: false,
            is_verbatim,
        });
    }

    /// Writes the field lines but those of `skipped`. Lines that follow each other in the text are
    /// copied in one piece; in others the whitespace around values becomes one space.
    pub(crate) fn encode(&self, skipped: NameSet, out: &mut Vec<u8>) {
        let mut run = Span::default();
        let may_skip = self.seen.intersects(skipped);
        for entry in &self.entries {
            if entry.is_removed || (may_skip && skipped.contains(entry.id)) {
                continue;
            }
            let line_end = entry.value.end + 2;
            if entry.is_verbatim && entry.name.start == run.end {
                run.end = line_end;
                continue;
            }
            out.extend_from_slice(run.of(&self.text));
            run = Span::default();
            if entry.is_verbatim {
                (run.start, run.end) = (entry.name.start, line_end);
            } else {
                self.encode_field(entry, out);
            }
        }
        out.extend_from_slice(run.of(&self.text));
    }

    fn encode_field(&self, entry: &Entry, out: &mut Vec<u8>) {
        let field = self.field(entry);
        for part in [field.name, b": ", field.value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

impl Entry {
    /// The same line, further back in a text.
    fn moved(&self, offset: u32) -> Self {
        Self {
            name: self.name.moved(offset),
            value: self.value.moved(offset),
            ..*self
        }
    }

    fn field<'t>(&self, text: &'t [u8]) -> Field<'t> {
        Field {
            name: self.name.of(text),
            value: self.value.of(text),
            id: self.id,
        }
    }
}

/// A name to look for: a known one is compared as its [`FieldName`], another one as text.
#[derive(Clone, Copy)]
struct Wanted<'n> {
    name: &'n [u8],
    id: FieldName,
}

impl<'n> Wanted<'n> {
    fn new(name: &'n [u8]) -> Self {
        let id = FieldName::from_bytes(name);
        Self { name, id }
    }

    fn is(&self, entry: &Entry, text: &[u8]) -> bool {
        entry.id == self.id
            && (self.id != FieldName::Other || entry.name.of(text).eq_ignore_ascii_case(self.name))
    }
}

/// RFC 9110 section 5.1: a name is a token.
fn check_name(name: &[u8]) -> Result<(), Invalid> {
    if name.is_empty() || prefix(name, TOKEN) < name.len() {
        return Err(Invalid);
    }
    Ok(())
}

/// RFC 9110 section 5.5: no control character but HTAB; whitespace around it is no part of it.
fn checked_value(value: &[u8]) -> Result<&[u8], Invalid> {
    let is_forbidden = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if value.iter().any(is_forbidden) {
        return Err(Invalid);
    }
    Ok(value.trim_ascii())
}
