/** What stands in the editor when somebody comes for the first time. */
export const FIRST_QUESTION = `# Ask this node anything: press Ctrl-Enter (or the button) to run, Ctrl-Space for what fits.
# The book on the left shows everything there is to ask.

{
  devices {
    id
    state
    lastSeen
    readings
  }
}

# Live, in a tab of its own:
#
# subscription {
#   telemetryReceived(deviceId: "an id from above") { metricName value unit time }
# }
`
