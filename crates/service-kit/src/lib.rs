//! What both services start with: clock, entropy, configuration layering, telemetry, tasks and shutdown, listeners, health, request id.
