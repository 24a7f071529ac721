//! Real agents in sandboxes.
