package docker

// UnheardHeader is set in the answer to POST /containers/{id}/stop, an addition of Pier, where the container's first
// process takes no notice of its stop signal, whose name is the value: it was killed at once.
const UnheardHeader = "Pier-Unheard-Signal"
