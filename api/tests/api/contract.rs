//! The schema against the part of it that is fixed, and against its own last state.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{FieldDefinition, TypeKind, TypeSystemDefinition};

const CONTRACT: &str = include_str!("../fixtures/contract.graphql");

/// What the contract has and the schema has not yet. A line leaves this list when it is served, never enters it.
const NOT_YET: [&str; 11] = [
    "AlertRule",
    "CreateAlertRuleInput",
    "CreateDeviceInput",
    "Mutation.acknowledgeAlert",
    "Mutation.createAlertRule",
    "Mutation.createDevice",
    "Mutation.deleteAlertRule",
    "Mutation.resolveAlert",
    "Mutation.updateAlertRule",
    "Mutation.updateDevice",
    "Query.alertRules",
];
const INPUTS_NOT_YET: [&str; 2] = ["UpdateAlertRuleInput", "UpdateDeviceInput"];

/// The members of each type, each with its type as text; enum values have themselves.
type Types = BTreeMap<String, BTreeMap<String, Member>>;

#[derive(Debug, PartialEq)]
struct Member {
    ty: String,
    /// Each argument with its type and default.
    arguments: BTreeMap<String, (String, Option<String>)>,
}

fn types(sdl: &str) -> Types {
    let document = parse_schema(sdl).unwrap();
    let definitions = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) => Some(definition.node),
        TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => None,
    });
    definitions.map(|definition| (definition.name.node.to_string(), members(definition.kind))).collect()
}

fn members(kind: TypeKind) -> BTreeMap<String, Member> {
    let plain = |ty: String| Member { ty, arguments: BTreeMap::new() };
    match kind {
        TypeKind::Object(object) => object.fields.into_iter().map(|field| member(field.node)).collect(),
        TypeKind::Enum(set) => {
            let values = set.values.into_iter().map(|value| value.node.value.to_string());
            values.map(|value| (value.clone(), plain(value))).collect()
        }
        TypeKind::InputObject(input) => {
            let fields = input.fields.into_iter().map(|field| field.node);
            fields.map(|field| (field.name.to_string(), plain(field.ty.to_string()))).collect()
        }
        TypeKind::Scalar | TypeKind::Interface(_) | TypeKind::Union(_) => BTreeMap::new(),
    }
}

fn member(field: FieldDefinition) -> (String, Member) {
    let arguments = field.arguments.into_iter().map(|argument| argument.node).map(|argument| {
        let default = argument.default_value.map(|value| value.to_string());
        (argument.name.to_string(), (argument.ty.to_string(), default))
    });
    (field.name.to_string(), Member { ty: field.ty.to_string(), arguments: arguments.collect() })
}

/// A client of the contract may call ours: same type, same arguments, and it need not know of more.
fn assert_serves(place: &str, ours: &Member, fixed: &Member) {
    assert_eq!(ours.ty, fixed.ty, "{place}");
    for (name, argument) in &fixed.arguments {
        assert_eq!(ours.arguments.get(name), Some(argument), "{place}({name})");
    }
    for (name, (ty, default)) in
        ours.arguments.iter().filter(|(name, _)| !fixed.arguments.contains_key(*name))
    {
        assert!(
            !ty.ends_with('!') || default.is_some(),
            "{place}({name}) is required and not in the contract"
        );
    }
}

#[test]
fn what_is_served_of_the_contract_is_served_as_it_says() {
    let (ours, fixed) = (types(&voltree_api::sdl()), types(CONTRACT));
    let mut missing = BTreeSet::new();
    for (name, fixed_members) in &fixed {
        let Some(our_members) = ours.get(name) else {
            missing.insert(name.clone());
            continue;
        };
        for (member, fixed) in fixed_members {
            let place = format!("{name}.{member}");
            match our_members.get(member) {
                Some(ours) => assert_serves(&place, ours, fixed),
                None => {
                    missing.insert(place);
                }
            }
        }
    }
    let expected = NOT_YET.into_iter().chain(INPUTS_NOT_YET).map(str::to_owned).collect();
    assert_eq!(missing, expected);
}

#[test]
fn the_schema_changes_only_on_purpose() {
    insta::assert_snapshot!(voltree_api::sdl());
}

#[test]
fn whatever_a_client_can_see_is_described() {
    let sdl = voltree_api::sdl();
    let document = parse_schema(&sdl).unwrap();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let definition = definition.node;
        assert!(definition.description.is_some(), "{} has no description", definition.name);
        let TypeKind::Object(object) = definition.kind else { continue };
        for field in object.fields {
            assert!(field.node.description.is_some(), "{}.{}", definition.name, field.node.name);
            for argument in &field.node.arguments {
                assert!(argument.node.description.is_some(), "{}({})", field.node.name, argument.node.name);
            }
        }
    }
}
