# Starts PostgreSQL and guards it: the reader of this script's standard input is the life line. When the
# process that holds the other end goes away, by whatever means, the read ends and the server is stopped.
# Arguments: the folder of the programs, the folder of the server, the port, fsync on or off, and two sizes: of the log
# between checkpoints, and of the shared buffers.
programs=$1 folder=$2 port=$3 fsync=$4 log=$5 buffers=$6
trap '' INT TERM HUP

start() {
    "$programs/postgres" -D "$folder/data" -p "$port" -k "$folder" \
        -c listen_addresses=127.0.0.1 -c fsync="$fsync" -c max_connections=400 \
        -c max_wal_size="$log" -c shared_buffers="$buffers" -c lc_messages=C >>"$folder/log" 2>&1 </dev/null &
    server=$!
}

start
while read -r word; do
    case $word in
    fast) kill -INT "$server" && wait "$server"; echo stopped ;;
    immediate) kill -QUIT "$server" && wait "$server"; echo stopped ;;
    start) start; echo started ;;
    esac
done
kill -QUIT "$server" 2>/dev/null
wait "$server"
cd / && rm -rf "$folder"
