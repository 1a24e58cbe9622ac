package kernel

import (
	"fmt"
	"os"

	"github.com/skerry-os/skerry/strictyaml"
)

// List is a module list, one file of boards/modules: the modules an image needs
// for one purpose. An entry is a module's name (virtio_blk, '-' and '_' are
// equal) or a pattern of paths below kernel/ without ".ko"
// (drivers/net/ethernet/**, net/netfilter/*; "*" stays within a folder). "!"
// before an entry takes out what the list's entries before it brought in, unless
// another module needs it. "?" after an entry says that it may match nothing.
type List struct {
	Description string   `yaml:"description"`
	Modules     []string `yaml:"modules"`
	AMD64       []string `yaml:"amd64"`
	ARM64       []string `yaml:"arm64"`
}

// ReadList reads a module list.
func ReadList(file string) (List, error) {
	f, err := os.Open(file)
	if err != nil {
		return List{}, fmt.Errorf("read module list: %w", err)
	}
	defer f.Close()
	text, err := strictyaml.Read(file, f)
	if err != nil {
		return List{}, fmt.Errorf("read module list: %w", err)
	}
	var list List
	if _, err := strictyaml.Decode(file, text, &list); err != nil {
		return List{}, fmt.Errorf("read module list: %w", err)
	}
	return list, nil
}

// For returns the entries for an architecture, as Debian names it.
func (l List) For(arch string) []string {
	entries := append([]string(nil), l.Modules...)
	switch arch {
	case "amd64":
		entries = append(entries, l.AMD64...)
	case "arm64":
		entries = append(entries, l.ARM64...)
	}
	return entries
}
