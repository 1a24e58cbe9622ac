// Command skerry is the single binary: a Kubernetes server or agent, the tools
// to use it, and what runs in Pods of every cluster. Under the names of kubectl,
// coredns and metrics-server it is these.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/skerry-os/skerry/cluster/batteries"

	_ "github.com/skerry-os/skerry/cmd/skerry/kubectltext"
)

func main() {
	name := filepath.Base(os.Args[0])
	if battery := batteries.Named(name); battery != nil {
		if err := battery(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	if name == "kubectl" {
		args = append([]string{"kubectl"}, args...)
	}
	if err := run(ctx, args); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			os.Exit(130)
		}
		fmt.Fprintln(os.Stderr, "skerry:", err)
		os.Exit(1)
	}
}
