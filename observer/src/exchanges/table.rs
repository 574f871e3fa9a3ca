//! Counts by route and one more property, as a table that grows with the routes.
//! A row is a route, a column the method or the kind of stream; most cells stay empty and cost a pointer.

use std::sync::Arc;

use super::routes::Route;

/// Route of what was under way when the agent attached.
pub(in crate::exchanges) const PREEXISTING: &str = "{preexisting}";

/// The row of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::exchanges) struct Row(usize);

impl Row {
    /// The row of [`PREEXISTING`].
    pub(in crate::exchanges) const PREEXISTING: Self = Self(0);
}

/// The templates of the rows.
#[derive(Debug, Default)]
pub(in crate::exchanges) struct Routes(Vec<Option<Arc<str>>>);

impl Routes {
    /// The row of a route that a router found.
    pub(super) fn row(&mut self, route: &Route) -> Row {
        let row = route.id.0 as usize + 1;
        if self.0.len() <= row {
            self.0.resize(row + 1, None);
        }
        self.0[row].get_or_insert_with(|| Arc::clone(&route.template));
        Row(row)
    }

    /// The label value of a row.
    pub(in crate::exchanges) fn template(&self, row: Row) -> &str {
        self.0.get(row.0).and_then(Option::as_deref).unwrap_or(PREEXISTING)
    }
}

/// Cells by row and column.
#[derive(Debug)]
pub(in crate::exchanges) struct Table<T, const COLUMNS: usize>(Vec<Option<Box<T>>>);

impl<T, const COLUMNS: usize> Default for Table<T, COLUMNS> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Default, const COLUMNS: usize> Table<T, COLUMNS> {
    /// A cell, made when it is not there yet. `column` is below `COLUMNS`.
    pub(super) fn at(&mut self, row: Row, column: usize) -> &mut T {
        debug_assert!(column < COLUMNS, "column {column} of {COLUMNS}");
        let index = row.0 * COLUMNS + column;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].get_or_insert_default()
    }

    /// The cells that there are, with row and column.
    pub(in crate::exchanges) fn cells(&self) -> impl Iterator<Item = (Row, usize, &T)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(index, cell)| Some((Row(index / COLUMNS), index % COLUMNS, cell.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exchanges::routes::Router, profiles::Profiles};

    #[test]
    fn cells_are_found_again_by_row_and_column() {
        let mut table: Table<u64, 4> = Table::default();
        *table.at(Row(3), 2) += 5;
        *table.at(Row::PREEXISTING, 3) += 1;
        *table.at(Row(3), 2) += 5;
        let cells: Vec<_> = table.cells().map(|(row, column, cell)| (row, column, *cell)).collect();
        assert_eq!(cells, [(Row::PREEXISTING, 3, 1), (Row(3), 2, 10)]);
    }

    #[test]
    fn rows_have_the_templates_of_their_routes() {
        let profiles = Profiles::compiled_in().unwrap();
        let mut router = Router::new(profiles.get("generic").unwrap(), 10);
        let mut templates = Routes::default();
        let rows: Vec<_> =
            ["/a", "/b", "/a"].map(|path| templates.row(&router.route(b"GET", path.as_bytes(), 200))).into();
        assert_eq!(rows[0], rows[2]);
        assert_eq!([rows[0], rows[1]].map(|row| templates.template(row)), ["/a", "/b"]);
        assert_eq!(templates.template(Row::PREEXISTING), PREEXISTING);
    }
}
