package compat

// Exception is a recorded answer that ours differs from on purpose.
type Exception struct {
	Reason string
	// Status replaces the recorded one; 0 keeps it. With another status the
	// recorded body and headers do not count.
	Status int
	// Skip are JSON paths that may differ, with the reason for each.
	Skip map[string]string
	// Ignore leaves the recording out.
	Ignore bool
	// Secret adds the secret, which the recording lacks.
	Secret bool
	// Then leaves out what GET /configs shows afterwards.
	Then bool
}

const (
	notBuiltDoH = "there is no DNS server yet"
	notBuiltUI  = "there is no download of user interfaces yet; the error says so"
)

// optionalConfigKeys are keys of GET /configs that belong to inbounds that are
// not built; dashboards do not read them.
var optionalConfigKeys = map[string]string{
	"/tun/recvmsgx":           "a setting of the peer's TUN",
	"/tun/inet4-address":      "is derived from fake-IP, where that is built",
	"/tun/inet6-address":      "is derived from fake-IP, where that is built",
	"/tuic-server/mux-option": "a setting of the peer's TUIC inbound",
}

// Exceptions are what we answer otherwise, by the name of the recording. The
// map is not to be changed.
func Exceptions() map[string]Exception { return exceptions }

var exceptions = map[string]Exception{
	"configs-get":                 {Reason: "settings of inbounds that are not built", Skip: optionalConfigKeys},
	"minimal-configs":             {Reason: "settings of inbounds that are not built", Skip: optionalConfigKeys},
	"configs-patch-err-null":      {Reason: "the peer crashes; null is taken for {}", Status: 204},
	"configs-patch-ss-config":     {Reason: "the inbound is not built: the key is accepted and has no effect", Then: true},
	"configs-patch-tuic-server":   {Reason: "mux-option is not shown", Then: true},
	"configs-patch-tun":           {Reason: "settings of an inbound that is not built", Then: true},
	"configs-patch-unified-delay": {Reason: "the peer ignores it; a dashboard has a switch for it, so it is applied", Then: true},
	"connections-empty":           {Reason: "[] where the peer has null: one dashboard needs it", Skip: map[string]string{"/connections": "[] for null"}},
	"connections-ws-bad-interval": {Reason: "the peer drops the connection; 400 before the upgrade says why", Status: 400},
	"proxy-get-file-1":            {Reason: "nodes of providers are found by name, as older releases did", Status: 200},
	"restart":                     {Reason: "there is no restart yet; the error says so", Status: 501},
	"upgrade-ui":                  {Reason: notBuiltUI, Status: 500},
	"upgrade-ui-bad-archive":      {Reason: notBuiltUI, Status: 500},
	"doh-bad-base64":              {Reason: notBuiltDoH, Ignore: true},
	"doh-dns-disabled":            {Reason: notBuiltDoH, Ignore: true},
	"doh-get":                     {Reason: notBuiltDoH, Ignore: true},
	"doh-post":                    {Reason: notBuiltDoH, Ignore: true},
	"doh-post-wrong-type":         {Reason: notBuiltDoH, Ignore: true},
	"storage-put-too-large":       {Reason: "the header was left out of the recording", Secret: true},
	"tls-version":                 {Reason: "tested with a TLS listener in api", Ignore: true},
	"tls-wss-traffic":             {Reason: "tested with a TLS listener in api", Ignore: true},
}
