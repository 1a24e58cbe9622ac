// Package kubeconfig writes the files by which programs find the API server
// and prove who they are.
package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skerry-os/skerry/cluster/atomicfile"
)

// File is a kubeconfig that names other files. Components read these again when
// they change.
type File struct {
	Server           string // URL
	ServerName       string // in the server's certificate, if it is not the URL's
	CA               string // file with the authorities of the server
	Certificate, Key string // files of the client
}

// Write makes the file, readable by its owner only.
func (f File) Write(path string) error {
	return write(path,
		&clientcmdapi.Cluster{Server: f.Server, TLSServerName: f.ServerName, CertificateAuthority: f.CA},
		&clientcmdapi.AuthInfo{ClientCertificate: f.Certificate, ClientKey: f.Key})
}

// Embed reads the files that a kubeconfig names into it.
func (f File) Embed() (Embedded, error) {
	e := Embedded{Server: f.Server}
	var errs [3]error
	e.CA, errs[0] = os.ReadFile(f.CA)
	e.Certificate, errs[1] = os.ReadFile(f.Certificate)
	e.Key, errs[2] = os.ReadFile(f.Key)
	return e, errors.Join(errs[:]...)
}

// Embedded is a kubeconfig that needs no other file, for people, who copy it to
// other machines.
type Embedded struct {
	Server               string // URL
	CA, Certificate, Key []byte // PEM
}

// Write makes the file, readable by its owner only.
func (e Embedded) Write(path string) error {
	return write(path,
		&clientcmdapi.Cluster{Server: e.Server, CertificateAuthorityData: e.CA},
		&clientcmdapi.AuthInfo{ClientCertificateData: e.Certificate, ClientKeyData: e.Key})
}

func write(path string, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) error {
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

// Ready tells whether the API server is, its own objects included.
func Ready(ctx context.Context, client kubernetes.Interface) bool {
	var status int
	client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status)
	return status == http.StatusOK
}
