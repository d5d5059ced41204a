#!/usr/bin/env bash
# What `make e2e T=queries` needs: the readers, and in .deps/readers/spark-s3a, pinned by hash, the jars with which
# Spark reads a bucket. Where Maven or Java is missing they are left out, and said.
set -euo pipefail
. "$(dirname "$0")/deps.sh"

e2e/readers_deps.sh

have=e2e/data/readers/spark-s3a
jars=.deps/readers/spark-s3a

if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
  say "no Maven or no Java here: Spark is left out"
elif ! cmp -s $have/SHA256SUMS $jars/.complete; then
  say "Spark's jars for a bucket into $jars"
  rm -rf ${jars:?}
  # What Spark has itself is not wanted twice.
  quietly mvn mvn -q -B -f $have/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$jars" \
    -DincludeScope=runtime -DexcludeGroupIds=io.netty,org.slf4j,commons-codec,commons-logging,org.apache.httpcomponents
  (cd $jars && sha256sum --quiet --strict -c "$OLDPWD/$have/SHA256SUMS")
  [ "$(find $jars -name '*.jar' | wc -l)" = "$(wc -l <$have/SHA256SUMS)" ] || die "there are other jars in $jars"
  cp $have/SHA256SUMS $jars/.complete
fi
