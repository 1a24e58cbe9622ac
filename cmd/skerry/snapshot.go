package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/control"
	"github.com/skerry-os/skerry/cluster/snapshot"
)

func snapshotCommand() *cobra.Command {
	c := config.Defaults(config.Server)
	var dir string
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save, list and restore snapshots of the datastore",
		Long: `Save, list and restore snapshots of the datastore, on a server.

A snapshot has the state of the cluster. To use it on another machine the folders
tls and tokens and the file encryption.yaml of the server are needed too; they do
not change.`,
		Args: cobra.NoArgs,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.DataDir, "data-dir", c.DataDir, "where the server keeps its state")
	flags.StringVar(&c.RunDir, "run-dir", c.RunDir, "where the server keeps what a boot must not keep")
	flags.StringVar(&dir, "dir", "", "where snapshots are (default: the folder "+snapshot.Folder+" of the server)")
	folder := func() string {
		if dir != "" {
			return dir
		}
		return c.ServerDir(snapshot.Folder)
	}
	cmd.AddCommand(&cobra.Command{
		Use: "save", Args: cobra.NoArgs,
		Short: "Take a snapshot now, while the server runs",
		RunE: func(cmd *cobra.Command, _ []string) error {
			made, err := snapshot.Source{ServerDir: c.ServerDir(), Socket: control.DatastoreSocket(c)}.Save(cmd.Context(), folder(), snapshot.Manual, time.Now())
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), made.Path)
			}
			return err
		},
	}, snapshotListCommand(folder), snapshotRestoreCommand(c, folder))
	return cmd
}

func snapshotListCommand(folder func() string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Args: cobra.NoArgs,
		Short: "List the snapshots, the latest first",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := snapshot.List(folder())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(append([]snapshot.Snapshot{}, all...))
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "TIME\tHOW\tDATASTORE\tREVISION\tBYTES\tFILE")
			for _, s := range all {
				fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\n", s.Time.Format(time.RFC3339), s.How, s.Datastore, s.Revision, s.Bytes, filepath.Base(s.Path))
			}
			return table.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func snapshotRestoreCommand(c *config.Config, folder func() string) *cobra.Command {
	var latest bool
	cmd := &cobra.Command{
		Use:   "restore FILE | restore --latest",
		Short: "Have the datastore be what it was at a snapshot, while the server is stopped",
		Long: `Have the datastore be what it was at a snapshot. The server must be stopped.
What it had since is kept aside.

Of several servers one restores. The others then move their folder etcd away and
start with --server, for they have what came after.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if latest != (len(args) == 0) {
				return errors.New("restore: name a file, or give --latest: `skerry snapshot list` shows what there is")
			}
			var path string
			if latest {
				found, err := snapshot.Latest(folder(), c.ServerDir())
				if err != nil {
					return err
				}
				path = found.Path
			} else {
				path = args[0]
			}
			aside, err := snapshot.Restore(cmd.Context(), path, c.ServerDir(), time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %s\n", path)
			if aside != "" {
				fmt.Fprintf(cmd.OutOrStdout(), "what there was is in %s\n", aside)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&latest, "latest", false, "the latest snapshot that there is")
	return cmd
}
