//! Statements that may be cached, and look-ups that may be asked as one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamer_core::cache::TableName;
use streamer_core::cache::sql::{Catalog, Plan, Planned, TableFacts, Template};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = Template::parse_sqlite(text);
    let Ok(template) = Template::parse(text) else {
        return;
    };
    let mut catalog = Catalog::new();
    for _ in 0..4 {
        match Plan::make(&template, Some("d"), &catalog) {
            Planned::Ready(plan) => {
                let _ = plan.bind(&[Some(1), None]);
                if let Some(point) = plan.point {
                    let (many, parameters) = point.statement(3);
                    assert!(Template::parse(&many).is_ok_and(|many| many.parameters == parameters), "{many}");
                }
                return;
            }
            Planned::Lacks(names) => {
                for name in names {
                    catalog.insert(name, facts());
                }
            }
            Planned::Refused(_) => return,
        }
    }
});

fn facts() -> TableFacts {
    TableFacts::Base {
        integers: ["a", "b", "id"].map(str::to_owned).into(),
        parents: vec![TableName::new("d", "parent")],
        obstacle: None,
    }
}
