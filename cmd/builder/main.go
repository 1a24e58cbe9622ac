// Command builder composes Skerry images and runs them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/containerd/log"
	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/flash"
)

func main() {
	// Containerd's store warns of file systems that have no fs-verity.
	if err := log.SetLevel("error"); err != nil {
		panic(err) // the level is one of its own
	}
	os.Exit(run(os.Stdout, os.Stderr, os.Args[1:]))
}

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells count
)

// run is main without the process around it.
func run(stdout, stderr io.Writer, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted")
		// What an interruption left behind is worth a line.
		if unfinished := (*flash.UnfinishedError)(nil); errors.As(err, &unfinished) {
			fmt.Fprintf(stderr, "builder: %v\n", err)
		}
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "builder: %v\nSee '%s --help'.\n", err, command.CommandPath())
		return exitUsage
	case errors.Is(err, errFindings):
		return exitFailed
	}
	fmt.Fprintf(stderr, "builder: %v\n", err)
	return exitFailed
}

// usageError is a command line that makes no sense, as against one that failed.
type usageError struct{ error }

// settings are the flags that every command has.
type settings struct {
	source string
	json   bool
}

// root returns the root folder of the repository.
func (s *settings) root() (string, error) {
	if s.source != "" {
		return builder.FindSource(s.source)
	}
	return builder.FindSource(".")
}

func newRoot() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "builder",
		Short: "Compose images that turn a board into a Kubernetes node",
		Long: `builder composes read-only, verified disk images for a board, and runs them.

It needs no root. It takes the kernel and a few programs from Debian packages,
compiles the rest from this repository, and caches every step: a second build
does only what changed.`,
		Example: `  builder boards
  builder build --board x86_64
  builder build --board arm64 --config shop-17.yaml --version 1.2.0 --release
  builder run skerry-1.2.0-arm64.img
  builder flash skerry-1.2.0-arm64.img`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&s.source, "source", "", "root folder of Skerry's repository (default: the one this folder is in)")
	root.PersistentFlags().BoolVar(&s.json, "json", false, "print results as JSON")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// The flags of a command that there is not are not what is wrong.
		if unknown := noSuchCommand(cmd, cmd.Flags().Args()); cmd.HasSubCommands() && unknown != nil {
			err = unknown
		}
		return usageError{err}
	})
	root.AddCommand(newBuild(s), newBoards(s), newConfig(s), newRun(s), newInspect(s), newFlash(s), newDist(s), newCache(s))
	// cobra's own are added when the command runs, if not before.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("completion")
	for _, command := range append(root.Commands(), root) {
		if command.HasSubCommands() {
			command.Args = arguments(noSuchCommand)
		}
		if command.Name() == "help" {
			command.Args = arguments(noSuchTopic)
		}
		// A command that does nothing by itself would accept any arguments.
		if !command.Runnable() {
			command.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	return root
}

// noSuchCommand refuses arguments of a command that has others below it.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	near := cmd.SuggestionsFor(args[0])
	if len(near) == 0 {
		return fmt.Errorf("there is no command %q", cmd.CommandPath()+" "+args[0])
	}
	return fmt.Errorf("there is no command %q: did you mean %s?", cmd.CommandPath()+" "+args[0], strings.Join(near, " or "))
}

// noSuchTopic refuses to help with commands that there are not.
func noSuchTopic(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil {
		return err
	}
	if !found.HasSubCommands() {
		return nil
	}
	return noSuchCommand(found, rest)
}

// arguments turns cobra's complaint about arguments into a usage error.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
