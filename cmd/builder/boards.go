package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/skerry-os/skerry/builder/board"
)

func newBoards(s *settings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "boards",
		Short: "List the boards that images can be built for",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			source, err := s.root()
			if err != nil {
				return err
			}
			boards, err := board.List(os.DirFS(source))
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(cmd, boards)
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, b := range boards {
				fmt.Fprintf(table, "%s\t%s\t%s\n", b.Name, b.Architecture, b.Description)
			}
			return table.Flush()
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use:               "show BOARD",
		Short:             "Show what a board's images are made of",
		Args:              arguments(cobra.ExactArgs(1)),
		ValidArgsFunction: s.completeBoards,
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := s.root()
			if err != nil {
				return err
			}
			b, err := board.Load(os.DirFS(source), args[0])
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(cmd, b)
			}
			encoder := yaml.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent(2)
			return encoder.Encode(b)
		},
	})
	return cmd
}

func printJSON(cmd *cobra.Command, value any) error {
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// completeBoards offers the names of boards to the shell.
func (s *settings) completeBoards(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.complete("boards", "board.yaml")
}

// completeOverlays offers the names of overlays to the shell.
func (s *settings) completeOverlays(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.complete("overlays", "overlay.yaml")
}

func (s *settings) complete(folder, file string) ([]string, cobra.ShellCompDirective) {
	source, err := s.root()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	entries, err := os.ReadDir(source + "/" + folder)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, e := range entries {
		if _, err := os.Stat(strings.Join([]string{source, folder, e.Name(), file}, "/")); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
