package addons

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"text/template"

	"github.com/skerry-os/skerry/cluster/config"
)

// The container images that nodes carry with them.
const (
	CoreDNSImage       = "skerry.dev/coredns:v1.15.0"
	MetricsServerImage = "skerry.dev/metrics-server:v0.9.0"
)

// manifests has a folder for each battery that consists of objects, and one
// for what every cluster needs.
//
//go:embed manifests
var manifests embed.FS

// batteryPrefix begins the names of sources that all servers have.
const batteryPrefix = "battery/"

// always is the folder that no setting switches off.
const always = "rbac"

// values are what a manifest can ask for.
type values struct {
	ClusterDNS, ClusterDomain string
	// NameServersDir is where each node keeps the name servers of the outside
	// world for CoreDNS.
	NameServersDir string
	Images         struct{ CoreDNS, MetricsServer string }
}

// NameServersDir is the folder on each node that the Pods of CoreDNS read.
func NameServersDir(c *config.Config) string { return c.RunFile("nameservers") }

// embedded returns the objects of the batteries that are switched on. What the
// others depend on comes first.
func embedded(c *config.Config) ([]source, error) {
	v := values{ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain, NameServersDir: NameServersDir(c)}
	v.Images.CoreDNS, v.Images.MetricsServer = CoreDNSImage, MetricsServerImage
	var sources []source
	for _, name := range append([]string{always}, config.Batteries...) {
		if c.Disabled(name) {
			continue
		}
		made, err := battery(name, v)
		if err != nil {
			return nil, err
		}
		if len(made.documents) > 0 {
			sources = append(sources, made)
		}
	}
	return sources, nil
}

// battery fills the values into one folder. There is none for a battery
// without objects.
func battery(name string, v values) (source, error) {
	made := source{name: batteryPrefix + name}
	files, err := fs.Glob(manifests, path.Join("manifests", name, "*.yaml"))
	if err != nil {
		return made, err
	}
	for _, file := range files {
		contents, err := manifests.ReadFile(file)
		if err != nil {
			return made, err
		}
		form, err := template.New(path.Base(file)).Option("missingkey=error").Parse(string(contents))
		if err != nil {
			return made, fmt.Errorf("%s: %w", file, err)
		}
		var filled bytes.Buffer
		if err := form.Execute(&filled, v); err != nil {
			return made, fmt.Errorf("%s: %w", file, err)
		}
		documents := parse(path.Join(name, path.Base(file)), filled.Bytes())
		for _, d := range documents {
			if d.err != nil {
				return made, fmt.Errorf("%s: %w", d.place, d.err)
			}
		}
		made.documents = append(made.documents, documents...)
	}
	return made, nil
}

// configured are the manifests of the configuration.
func configured(list []map[string]any) source {
	made := source{name: "config"}
	for i, fields := range list {
		place := fmt.Sprintf("manifests[%d] of the configuration", i)
		contents, err := json.Marshal(fields)
		if err != nil {
			made.documents = append(made.documents, document{place: place, err: err})
			continue
		}
		for _, d := range parse(place, contents) {
			d.place = place
			made.documents = append(made.documents, d)
		}
	}
	return made
}
