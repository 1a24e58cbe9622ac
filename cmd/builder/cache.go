package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/cache"
	"github.com/skerry-os/skerry/builder/progress"
)

func newCache(s *settings) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Show the cache and how large it is",
		Long: `The cache has what earlier builds made and fetched, so that the next one does only
what changed: the results of steps, each under a digest of all it was made of,
and the packages and indexes of mirrors. cache shows where it is and how much of
the disk each kind takes.

Builds remove results of steps that were not used for two weeks, and beyond 10 GB
those whose last use is longest ago. Nothing in the cache is missed when it is
gone: what is needed is made or fetched again.`,
		Example: `  builder cache
  builder cache --json | jq '[.kinds[].bytes] | add'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := builder.FindCache(dir)
			if err != nil {
				return err
			}
			kinds, err := c.Usage(builder.CacheFolders...)
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(cmd, cached{c.Dir(), kinds})
			}
			fmt.Fprintln(cmd.OutOrStdout(), c.Dir())
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			var all int64
			for _, kind := range kinds {
				fmt.Fprintf(table, "%s\t%d\t%s\n", kind.Name, kind.Entries, progress.Size(kind.Bytes))
				all += kind.Bytes
			}
			fmt.Fprintf(table, "together\t\t%s\n", progress.Size(all))
			return table.Flush()
		},
	}
	cacheFlag(cmd.PersistentFlags(), &dir)
	cmd.AddCommand(newCachePrune(s, &dir))
	return cmd
}

// cached is what cache prints as JSON.
type cached struct {
	Dir   string       `json:"dir"`
	Kinds []cache.Kind `json:"kinds"`
}

func newCachePrune(s *settings, dir *string) *cobra.Command {
	older := age(30 * 24 * time.Hour)
	var all bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove from the cache what was not used lately",
		Long: `prune removes the results of steps, the packages and the kernel modules that no
build used for a time, and what killed builds left. It does nothing while a
build uses the cache.

With --all it empties the cache. The next build then takes as long as the first,
and needs the mirror.`,
		Example: `  builder cache prune
  builder cache prune --older-than 7d
  builder cache prune --all`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all && cmd.Flags().Changed("older-than") {
				return usageError{errors.New("--all and --older-than: pass one of them")}
			}
			c, err := builder.FindCache(*dir)
			if err != nil {
				return err
			}
			folders := builder.AgingFolders
			if all {
				folders, older = append([]string{cache.Steps}, builder.CacheFolders...), 0
			}
			removed, err := c.Prune(cmd.Context(), time.Now(), cache.Keep{Age: time.Duration(older)}, folders...)
			if err != nil {
				return fmt.Errorf("prune %s: %w", c.Dir(), err)
			}
			if s.json {
				return printJSON(cmd, removed)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "removed %d entries, %s\n", removed.Entries, progress.Size(removed.Bytes))
			return nil
		},
	}
	cmd.Flags().Var(&older, "older-than", "remove what was not used for so long, in days or hours: 30d, 12h")
	cmd.Flags().BoolVar(&all, "all", false, "remove everything")
	return cmd
}

// age is a flag: a whole number of days or hours.
type age time.Duration

func (a *age) String() string {
	if hours := time.Duration(*a).Hours(); hours < 24 || int(hours)%24 != 0 {
		return fmt.Sprintf("%dh", int(hours))
	}
	return fmt.Sprintf("%dd", int(time.Duration(*a).Hours())/24)
}

func (a *age) Type() string { return "age" }

func (a *age) Set(text string) error {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour} {
		number, ok := strings.CutSuffix(text, suffix)
		if n, err := strconv.ParseUint(number, 10, 16); ok && err == nil && n > 0 {
			*a = age(time.Duration(n) * unit)
			return nil
		}
	}
	return errors.New("write a number of days or hours, as in 30d or 12h; --all removes everything")
}

// cacheFlag is that of commands that use the cache.
func cacheFlag(flags *pflag.FlagSet, dir *string) {
	flags.StringVar(dir, "cache", "", "folder of the cache (default: skerry in the user's cache folder)")
}
