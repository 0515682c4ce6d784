"""The proof: held-out videos, edited by each method where the truth is known, and judged.

`playing` edits a world's video by each method, and `judging` says what that is worth; `looking` does both for open
looks on footage, and `views` for new views of panoramas. `verdicts` keeps what was seen of every video and sums it up,
`claims` are the bounds that figures are held to, `showing` picks frames for a person, `judge_videos` is Prefect's task.
"""
