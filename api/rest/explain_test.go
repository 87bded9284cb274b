package rest

import (
	"net/url"
	"testing"
)

func FuzzExplainQuery(f *testing.F) {
	for _, s := range []string{"host=a.test&port=443&network=udp&source=10.0.0.1:80&process=curl", "host=[::1]&source=::1", "host=..&ip=[a]", "host=%ff&dscp=64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q, err := ParseExplainQuery(values)
		if err == nil && (!q.Flow.Destination.IsValid() || q.Flow.Network.String() == "" || !q.Flow.Source.Addr().IsValid()) {
			t.Fatalf("%s: a query without a flow: %+v", query, q)
		}
	})
}
