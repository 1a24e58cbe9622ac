// Command containerd-shim-runc-v2 stands between containerd and the containers
// of one pod, so that they outlive a restart of containerd. containerd starts
// it by its name, which follows from the runtime io.containerd.runc.v2.
//
// It is a file of its own and no name of the big one: a pod costs one shim's
// memory, and the shim starts itself again by os.Executable.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	"github.com/containerd/containerd/v2/pkg/shim"
)

func main() {
	shim.RunShim(context.Background(), manager.NewShimManager("io.containerd.runc.v2"))
}
