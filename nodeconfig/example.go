package nodeconfig

import _ "embed"

// ExampleName is the name of the example on partition boot.
const ExampleName = "skerry-example.yaml"

//go:embed example.yaml
var example string

// Example returns a node config that says nothing, with comments that show what
// it can say.
func Example() string { return example }
