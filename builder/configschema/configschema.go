// Package configschema has the JSON Schemas (draft 2020-12) of the YAML files
// that people write, so that editors complete and check them: the node config,
// and boards, overlays, module lists and container images.
//
// The schemas are generated from the Go types and their comments (Generate) and
// embedded; a test fails when they are not current. They promise less than the
// strict readers check: a file that a reader accepts is valid, but not every
// valid file is accepted, since a schema cannot tell what values mean
// together.
package configschema

import _ "embed"

//go:generate go test . -run TestTheSchemasAreCurrent -update

var (
	//go:embed nodeconfig.schema.json
	nodeConfigSchema string
	//go:embed board.schema.json
	boardSchema string
	//go:embed overlay.schema.json
	overlaySchema string
	//go:embed modules.schema.json
	modulesSchema string
	//go:embed image.schema.json
	imageSchema string
)

// NodeConfig returns the schema of skerry.yaml, indented and with a line end.
func NodeConfig() string { return nodeConfigSchema }

// Board returns the schema of boards/NAME/board.yaml.
func Board() string { return boardSchema }

// Overlay returns the schema of overlays/NAME/overlay.yaml.
func Overlay() string { return overlaySchema }

// Modules returns the schema of boards/modules/NAME.yaml.
func Modules() string { return modulesSchema }

// Image returns the schema of images/NAME/image.yaml.
func Image() string { return imageSchema }
