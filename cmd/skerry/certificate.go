package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/skerry-os/skerry/cluster/certificates"
	"github.com/skerry-os/skerry/cluster/config"
)

// rotateTimeout is how long a server may take to make its certificates anew; a
// node has to ask a server for its own.
const rotateTimeout = time.Minute

func certificateCommand() *cobra.Command {
	c := config.Defaults(config.Server)
	cmd := &cobra.Command{
		Use:   "certificate",
		Short: "Check and rotate the certificates of this machine",
		Args:  cobra.NoArgs,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.DataDir, "data-dir", c.DataDir, "where state is kept")
	flags.StringVar(&c.RunDir, "run-dir", c.RunDir, "where state is kept that a boot must not keep")
	var asJSON bool
	check := &cobra.Command{
		Use: "check", Args: cobra.NoArgs,
		Short: "List all certificates and when they expire; fails if one has",
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := certificates.List(c)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return fmt.Errorf("no certificate below %s and %s: is this a server or a node, and are you root?", c.DataDir, c.RunDir)
			}
			return showCertificates(cmd.OutOrStdout(), all, asJSON, time.Now())
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.AddCommand(check, &cobra.Command{
		Use: "rotate", Args: cobra.NoArgs,
		Short: "Have all certificates but the authorities' made anew now, without a restart",
		RunE: func(cmd *cobra.Command, _ []string) error {
			before, err := certificates.List(c)
			if err != nil {
				return err
			}
			if err := certificates.Request(c, time.Now()); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), rotateTimeout)
			defer cancel()
			now, err := certificates.Wait(ctx, c, before)
			if err != nil {
				return err
			}
			return showCertificates(cmd.OutOrStdout(), now, false, time.Now())
		},
	})
	return cmd
}

// showCertificates writes a table, or JSON. It returns an error if one has
// expired.
func showCertificates(out io.Writer, all []certificates.Certificate, asJSON bool, now time.Time) error {
	if asJSON {
		if err := json.NewEncoder(out).Encode(all); err != nil {
			return err
		}
	} else {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tKIND\tSUBJECT\tEXPIRES\tDAYS LEFT\tFILE")
		for _, c := range all {
			days := int(c.Expires.Sub(now).Hours() / 24)
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", c.Name, c.Kind, c.Subject, c.Expires.Format(time.RFC3339), days, c.Path)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for _, c := range all {
		if now.After(c.Expires) {
			return fmt.Errorf("%s has expired at %s", c.Path, c.Expires.Format(time.RFC3339))
		}
	}
	return nil
}
