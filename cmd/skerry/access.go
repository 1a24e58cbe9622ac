package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/cluster/kubeconfig"
	"github.com/skerry-os/skerry/cluster/pki"
	"github.com/skerry-os/skerry/nodeconfig"
)

func kubeconfigCommand() *cobra.Command {
	var access join.Access
	var keyFile, output string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Get a kubeconfig from a server, by an access key of its node config",
		Long: `Get a kubeconfig with all rights from a server, by an access key of its node
config. The key is an Ed25519 key as ` + "`skerry key`" + ` or ssh-keygen makes it; it does not
leave this machine. The kubeconfig is good for a year.

The server's CA is believed at the first use and its SHA-256 shown; --ca-digest
names it where it is known.`,
		Example: `  skerry key access.pem                         # prints the line for access.keys in skerry.yaml
  skerry kubeconfig --server https://192.0.2.10:6443 --key access.pem --output shop.kubeconfig
  skerry kubectl --kubeconfig shop.kubeconfig get nodes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if access.Key, err = readAccessKey(keyFile); err != nil {
				return err
			}
			own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return err
			}
			ca, certificate, err := access.Ask(cmd.Context(), own)
			if err != nil {
				return err
			}
			if access.CA == "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "the CA of %s has SHA-256 %s\n", access.Server, pki.Digest(ca))
			}
			key, err := pki.EncodeKey(own)
			if err != nil {
				return err
			}
			return kubeconfig.Embedded{Server: access.Server, CA: pki.EncodeCertificate(ca), Certificate: certificate, Key: key}.Write(output)
		},
	}
	cmd.Flags().StringVarP(&access.Server, "server", "s", "", "URL of the server, as in https://192.0.2.10:6443")
	cmd.Flags().StringVarP(&keyFile, "key", "k", "", "file with the access key")
	cmd.Flags().StringVarP(&output, "output", "o", "kubeconfig.yaml", "where to write the kubeconfig")
	cmd.Flags().StringVar(&access.CA, "ca-digest", "", "SHA-256 of the server's CA in hexadecimal")
	for _, name := range []string{"server", "key"} {
		cmd.MarkFlagRequired(name)
	}
	return cmd
}

// readAccessKey reads an Ed25519 key, of skerry or of ssh-keygen.
func readAccessKey(path string) (ed25519.PrivateKey, error) {
	contents, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	parsed, err := ssh.ParseRawPrivateKey(contents)
	if err != nil {
		return nil, fmt.Errorf("--key %s: %w", path, err)
	}
	switch key := parsed.(type) {
	case *ed25519.PrivateKey:
		return *key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, fmt.Errorf("--key %s: an access key is an Ed25519 key, and this is a %T", path, parsed)
}

func keyCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "key FILE",
		Short: "Make an access key, and print its line for the node config",
		Long: `Make an access key in FILE, or read the one that is there, and print its public
half as access.keys of a node config has it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := readAccessKey(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				key, err = makeAccessKey(args[0])
			}
			if err != nil {
				return err
			}
			public := nodeconfig.AccessKey{Name: name}
			copy(public.Public[:], key.Public().(ed25519.PublicKey))
			fmt.Fprintln(cmd.OutOrStdout(), public)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "whose key it is, as in ops@example.com")
	return cmd
}

func makeAccessKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, atomicfile.Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
