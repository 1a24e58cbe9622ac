// Package nodeconfig is the node config, the file skerry.yaml that a person
// writes: its Go types, reading it strictly, and checking that what it says
// can be.
//
// What Parse returns is complete: every default is filled in, but for the
// hostname, which needs the board and a network address (DefaultHostname). All
// keys are known here, those of the cluster and of updates too, so that a file
// is checked as a whole wherever it is read. Whether the hardware, the network
// and the update source named in it exist is left to those who use them.
//
// It is linked into PID 1, with the time zone database: an image has none.
package nodeconfig

import (
	"github.com/skerry-os/skerry/strictyaml"
)

const (
	// APIVersion is the only value of the key apiVersion.
	APIVersion = "skerry.dev/v1alpha1"
	// Kind is the only value of the key kind.
	Kind = "NodeConfig"
	// FileName is the name of the node config on partition boot.
	FileName = "skerry.yaml"
)

// Config is a node config. An empty file, or one with nothing but comments, is
// a valid one: the node gets its name from board and MAC, asks DHCP on every
// wired interface, and is part of no cluster.
type Config struct {
	// Version of the format: skerry.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" required:"true" jsonschema:"enum=skerry.dev/v1alpha1"`
	// What the file is: NodeConfig.
	Kind string `yaml:"kind" required:"true" jsonschema:"enum=NodeConfig"`
	// Name of the node, one DNS label in lower case. Default: board and MAC, as in rpi4-a1b2c3.
	Hostname string `yaml:"hostname" jsonschema:"minLength=1,maxLength=63,pattern=^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"`
	// How the node reaches the network. Default: DHCP on every wired interface.
	Network Network `yaml:"network"`
	// The node's part in a Kubernetes cluster. Default: none.
	Cluster *Cluster `yaml:"cluster"`
	// Where new releases come from and when they are installed. Default: the node does not update itself.
	Updates *Updates `yaml:"updates"`
	// Who may use the node's API. Default: nobody.
	Access Access `yaml:"access"`
	// Where the node keeps what it may change.
	Storage Storage `yaml:"storage"`
	// Additions to what the kernel loads and how it is set.
	Kernel Kernel `yaml:"kernel"`
	// Files put below /etc at every start.
	Files []File `yaml:"files"`
}

// Access says who may use the node's API.
type Access struct {
	// Public keys, each as in "ed25519:<base64 of 32 bytes> ops@example".
	Keys []AccessKey `yaml:"keys"`
}

// Storage says where the node keeps what it may change.
type Storage struct {
	// The partition for cluster state, container images and logs.
	Data Data `yaml:"data"`
}

// Data says where partition data is.
type Data struct {
	// The disk: "auto", the one the node was started from, or a path as in /dev/nvme0n1. Default: auto.
	Device string `yaml:"device" jsonschema:"pattern=^(auto|/dev/[A-Za-z0-9._:/-]+)$"`
	// Whether a disk that holds something else may be overwritten. Default: false, such a disk is left alone.
	Wipe bool `yaml:"wipe"`
}

// DeviceAuto stands for the disk the node was started from.
const DeviceAuto = "auto"

// Kernel is what is loaded and set beyond what the hardware asks for.
type Kernel struct {
	// Modules to load at start, by name.
	Modules []string `yaml:"modules" jsonschema:"pattern=^[A-Za-z0-9][A-Za-z0-9_-]*$"`
	// Kernel parameters as sysctl names them, with values in quotes: {net.core.somaxconn: "4096"}.
	Sysctls map[string]string `yaml:"sysctls"`
}

// File is a file put below /etc at every start.
type File struct {
	// Where it goes: an absolute path below /etc.
	Path string `yaml:"path" required:"true" jsonschema:"pattern=^/etc/[^/]+(/[^/]+)*$"`
	// Its permissions in octal, in quotes. Default: "0644".
	Mode FileMode `yaml:"mode"`
	// What is in it. "|" before several lines keeps them as they are.
	Content string `yaml:"content" required:"true" secret:"true"`
}

// Updates says where new releases come from and when they are installed.
type Updates struct {
	// The directory with releases and signed metadata: an https:// or file:// URL.
	Source string `yaml:"source" required:"true" jsonschema:"pattern=^(https|file)://"`
	// Which releases of the source are followed. Default: stable.
	Channel string `yaml:"channel" jsonschema:"pattern=^[a-z0-9][a-z0-9._-]*$"`
	// When the node may restart into a new release. Default: at any time.
	Window *Window `yaml:"window"`
	// How much one update may download, as in 200MiB. Default: as much as it needs.
	MaxBytes strictyaml.Size `yaml:"maxBytes"`
	// When a new release counts as healthy.
	Health Health `yaml:"health"`
}

// Window is a time of the week. It may go over midnight; a day names its beginning.
type Window struct {
	// Days on which it begins: mon, tue, wed, thu, fri, sat, sun. Default: all.
	Days []Day `yaml:"days"`
	// When it begins, as in "02:00".
	From TimeOfDay `yaml:"from" required:"true"`
	// When it ends, as in "05:00". Earlier than from means on the next day.
	To TimeOfDay `yaml:"to" required:"true"`
	// Time zone of from and to, as in Europe/Berlin. Default: UTC.
	Timezone string `yaml:"timezone" jsonschema:"pattern=^[A-Za-z0-9_+/-]+$"`
}

// Health says when a new release counts as healthy.
type Health struct {
	// How long after its start a release has to become healthy. Default: 10m.
	Deadline strictyaml.Duration `yaml:"deadline"`
	// Conditions besides those every node has.
	Checks []HealthCheck `yaml:"checks"`
}

// HealthCheck is one condition for a new release to count as healthy.
type HealthCheck struct {
	// A URL that has to answer with a status of 2xx.
	HTTP string `yaml:"http" required:"true" jsonschema:"pattern=^https?://"`
}
