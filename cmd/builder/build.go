package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/skerry-os/skerry/builder"
	"github.com/skerry-os/skerry/builder/progress"
	"github.com/skerry-os/skerry/release"
)

func newBuild(s *settings) *cobra.Command {
	var o builder.Options
	cmd := &cobra.Command{
		Use:   "build --board NAME",
		Short: "Build an image",
		Long: `build makes a release for a board and writes it to the output folder:

  skerry-VERSION-BOARD.img            disk image, to be written to a disk as it is
  skerry-VERSION-BOARD.slot           root file system and hash tree, for updates
  skerry-VERSION-BOARD.efi            kernel image, for updates, on boards with UEFI
  skerry-VERSION-BOARD.manifest.json  what was made, of which packages and modules
  skerry-VERSION-BOARD.spdx.json      bill of materials (SPDX)
  SHA256SUMS                          checksums of all of these

The same sources and packages give the same bytes. What earlier builds made is
taken from the cache. Packages come from the mirror that apt uses on this
machine; what the mirror says is asked for again after six hours.

--json prints the manifest and, as .files, the absolute paths of all files.`,
		Example: `  builder build --board x86_64
  builder build --board arm64 --config shop-17.yaml --format img.zst
  builder build --board rpi4 --images shop.tar
  builder build --board x86_64 --locked skerry-1.2.0-x86_64.manifest.json`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Board == "" {
				return usageError{errors.New("which board? pass --board; `builder boards` lists them")}
			}
			source, err := s.root()
			if err != nil {
				return err
			}
			o.Source = source
			p := progress.New(cmd.ErrOrStderr())
			defer p.Close()
			result, err := builder.Build(cmd.Context(), o, p)
			if err != nil {
				return err
			}
			if s.json {
				return printMade(cmd, result)
			}
			for _, name := range result.Files {
				fmt.Fprintln(cmd.OutOrStdout(), name)
			}
			if len(result.Next) > 0 {
				// Not to standard output, which other programs read names of files from.
				fmt.Fprintf(cmd.ErrOrStderr(), "\nnext:\n- %s\n", strings.Join(result.Next, "\n- "))
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Board, "board", "", "board to build for; `builder boards` lists them (required)")
	flags.StringVar(&o.Config, "config", "", "node config to put on partition boot")
	flags.StringVar(&o.Version, "version", "", "version of the release (default: from git)")
	flags.StringSliceVar(&o.Formats, "format", []string{"img"}, "forms of the disk image: img, img.zst, img.xz, qcow2")
	flags.BoolVar(&o.Release, "release", false, "compress the root as small as it gets; takes longer")
	flags.StringArrayVar(&o.Overlays, "overlay", nil, "overlay to merge into the root, besides those of the board; may be repeated")
	flags.StringArrayVar(&o.Without, "without", nil, "overlay of the board to leave out, as in --without cluster; may be repeated")
	flags.StringArrayVar(&o.Archives, "images", nil, "container images to put into the root, for nodes without a registry: an archive as of docker save, or an OCI image layout, of which those for the board's processor are taken; may be repeated")
	flags.StringVar(&o.Locked, "locked", "", "manifest of an earlier build: use exactly its packages")
	folderFlags(flags, &o.Output, &o.Cache)
	mirrorFlags(flags, &o.Mirror, &o.Refresh)
	for flag, complete := range map[string]cobra.CompletionFunc{
		"board":   s.completeBoards,
		"overlay": s.completeOverlays,
		"without": s.completeOverlays,
		"format":  cobra.FixedCompletions(builder.Formats, cobra.ShellCompDirectiveNoFileComp),
	} {
		must(cmd.RegisterFlagCompletionFunc(flag, complete))
	}
	return cmd
}

// folderFlags are those of commands that make files.
func folderFlags(flags *pflag.FlagSet, output, cache *string) {
	flags.StringVar(output, "output", ".", "folder to write to")
	cacheFlag(flags, cache)
}

// mirrorFlags are those of commands that need packages of Debian.
func mirrorFlags(flags *pflag.FlagSet, mirror *string, refresh *bool) {
	flags.StringVar(mirror, "mirror", "", "Debian mirror, as in http://MIRROR/debian (default: the one that apt uses)")
	flags.BoolVar(refresh, "refresh", false, "ask the mirror for new packages now")
}

// made is what build prints as JSON: the manifest as it is in the output folder,
// and with it where the files are.
type made struct {
	*release.Manifest
	Files []string `json:"files"` // absolute paths
}

// printMade prints what was made as JSON. The manifest is read back from its
// encoded form, which is sorted and has the format's version.
func printMade(cmd *cobra.Command, result *builder.Result) error {
	encoded, err := result.Manifest.Encode()
	if err != nil {
		return err
	}
	manifest, err := release.ParseManifest("of this build", encoded)
	if err != nil {
		return err
	}
	return printJSON(cmd, made{manifest, result.Files})
}

// must is for calls that fail only when this file contradicts itself.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
