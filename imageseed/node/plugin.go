package node

import (
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"github.com/skerry-os/skerry/imageseed"
)

// RegisterContent registers containerd's content plugin, with the images in the
// folder dir; without a folder it is the stock plugin. It is called once, before
// containerd starts, by a program that does not import
// plugins/content/local/plugin, which registers the same.
func RegisterContent(dir string) {
	registry.Register(&plugin.Registration{
		Type: plugins.ContentPlugin,
		ID:   "content",
		InitFn: func(ic *plugin.InitContext) (any, error) {
			root := ic.Properties[plugins.PropertyRootDir]
			ic.Meta.Exports["root"] = root
			return newStore(root, dir)
		},
	})
}

func newStore(root, dir string) (content.Store, error) {
	stock, err := local.NewStore(root)
	if err != nil || dir == "" {
		return stock, err
	}
	seed, err := imageseed.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("content store: %w", err)
	}
	return Store(stock, seed), nil
}
