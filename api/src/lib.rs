//! What a person or a program may ask: GraphQL, health, metrics, console.
