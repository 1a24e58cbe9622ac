package batteries

import (
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/logs"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

// metricsServer is the main function of sigs.k8s.io/metrics-server, which cannot
// be imported. It leaves the number of threads to Go, which heeds the limits of
// the container.
func metricsServer() error {
	logs.InitLogs()
	defer logs.FlushLogs()
	command := app.NewMetricsServerCommand(genericapiserver.SetupSignalHandler())
	command.Use = "metrics-server"
	command.SilenceErrors, command.SilenceUsage = true, true
	return command.Execute()
}
