// Package kubeconfig writes the files by which programs find the API server
// and prove who they are.
package kubeconfig

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skerry-os/skerry/cluster/atomicfile"
)

// File is what a kubeconfig says.
type File struct {
	Server string // URL
	CA     string // file with the authorities of the server
	// The client's certificate and key. Components read these files again
	// when they change.
	Certificate, Key string
	// Embed puts the contents of the three files into the kubeconfig, for
	// people, who copy it to other machines.
	Embed bool
}

// Write makes the file, readable by its owner only.
func (f File) Write(path string) error {
	cluster := &clientcmdapi.Cluster{Server: f.Server, CertificateAuthority: f.CA}
	user := &clientcmdapi.AuthInfo{ClientCertificate: f.Certificate, ClientKey: f.Key}
	if f.Embed {
		for _, file := range []struct {
			path *string
			data *[]byte
		}{
			{&cluster.CertificateAuthority, &cluster.CertificateAuthorityData},
			{&user.ClientCertificate, &user.ClientCertificateData},
			{&user.ClientKey, &user.ClientKeyData},
		} {
			contents, err := os.ReadFile(*file.path)
			if err != nil {
				return err
			}
			*file.path, *file.data = "", contents
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["skerry"] = cluster
	config.AuthInfos["skerry"] = user
	config.Contexts["skerry"] = &clientcmdapi.Context{Cluster: "skerry", AuthInfo: "skerry"}
	config.CurrentContext = "skerry"
	contents, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, contents, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// Named is the kubeconfig, certificate and key of a user whose files in dir
// have the same name.
func Named(dir, name, server, ca string) (string, File) {
	return filepath.Join(dir, name+".kubeconfig"), File{
		Server: server, CA: ca,
		Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"),
	}
}

// Client connects as the user of a kubeconfig. It does not limit the rate of
// its own requests: the server does that.
func Client(path string) (*rest.Config, kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, nil, err
	}
	config.QPS = -1
	config.UserAgent = "skerry"
	client, err := kubernetes.NewForConfig(config)
	return config, client, err
}
